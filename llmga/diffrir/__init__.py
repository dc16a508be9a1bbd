"""Restoration: after inpainting, the new region is made to agree with the kept pixels."""
