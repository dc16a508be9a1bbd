"""A whole Stable Diffusion checkpoint in one file, in the layout of its authors (LDM): opened, and written."""
