"""Pixels to the latents a UNet sees, and back; the per-channel statistics are the VAE's own, if it states them."""

from typing import Any

import torch
from torch import Tensor


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread that are taken out of the latents, broadcast over (batch, channel, height, width)."""
    mean, std = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or std is None:
        return like.new_zeros(()), like.new_ones(())
    return like.new_tensor(mean).view(1, -1, 1, 1), like.new_tensor(std).view(1, -1, 1, 1)


def scaled(vae: Any, latents: Tensor) -> Tensor:
    """The VAE's latents -> what the UNet sees."""
    mean, std = _statistics(vae, latents)
    return (latents - mean) * vae.config.scaling_factor / std


def unscaled(vae: Any, latents: Tensor) -> Tensor:
    """What the UNet sees -> the VAE's latents."""
    mean, std = _statistics(vae, latents)
    return latents * std / vae.config.scaling_factor + mean


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """Scaled latents -> pixels (batch, 3, height, width) around [-1, 1].

    Half precision overflows in some VAEs (SDXL's says so in `force_upcast`): such a decode is done in single precision.
    """
    half = vae.dtype == torch.float16
    if half and vae.config.force_upcast:
        return _decode_single(vae, latents)
    pixels = vae.decode(unscaled(vae, latents.to(vae.dtype)), return_dict=False)[0]
    return pixels if pixels.isfinite().all() or not half else _decode_single(vae, latents)


def _decode_single(vae: Any, latents: Tensor) -> Tensor:
    vae.to(dtype=torch.float32)
    try:
        return vae.decode(unscaled(vae, latents.float()), return_dict=False)[0]
    finally:
        vae.to(dtype=torch.float16)


@torch.no_grad()
def posterior(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels in [-1, 1] -> mean and spread of the VAE's (unscaled) latents, in single precision."""
    distribution = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    return distribution.mean.float(), distribution.std.float()
