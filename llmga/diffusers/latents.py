"""Pixels to the latents a UNet sees, and back; the per-channel statistics are the VAE's own, if it states them."""

from typing import Any

import torch
from torch import Tensor

from llmga.errors import UserError


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread that are taken out of the latents, broadcast over (batch, channel, height, width)."""
    mean, std = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or std is None:
        return like.new_tensor(getattr(vae.config, "shift_factor", None) or 0.0), like.new_ones(())
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

    Raises: UserError when there is no picture even so.
    """
    if not latents.isfinite().all():
        raise UserError(f"the diffusion model gave no finite numbers in {_short(latents.dtype)}; "
                        "use another --dtype (bf16 or fp32), or copy the checkpoint again.")  # fmt: skip
    half = vae.dtype == torch.float16
    pixels = None if half and vae.config.force_upcast else _decode(vae, latents)
    if pixels is None or (half and not pixels.isfinite().all()):
        pixels = _decode_single(vae, latents)
    if not pixels.isfinite().all():
        raise UserError("the VAE gave no finite numbers, its weights are probably damaged; copy the folder vae/ again.")
    return pixels


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _decode(vae: Any, latents: Tensor) -> Tensor:
    return vae.decode(unscaled(vae, latents.to(vae.dtype)), return_dict=False)[0]


def _decode_single(vae: Any, latents: Tensor) -> Tensor:
    vae.to(dtype=torch.float32)
    try:
        return _decode(vae, latents)
    finally:
        vae.to(dtype=torch.float16)


@torch.no_grad()
def posterior(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels in [-1, 1] -> mean and spread of the VAE's (unscaled) latents, in single precision."""
    distribution = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    return distribution.mean.float(), distribution.std.float()
