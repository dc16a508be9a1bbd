"""Pixels to the latents a UNet sees, and back; the per-channel statistics are the VAE's own, if it states them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.memory import execution_device
from llmga.errors import UserError


def has_statistics(vae: Any) -> bool:
    """Whether the VAE states mean and spread of its latents, per channel."""
    return None not in (getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None))


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread that are taken out of the latents, broadcast over (batch, channel, height, width)."""
    if not has_statistics(vae):
        return like.new_full((), getattr(vae.config, "shift_factor", None) or 0.0), like.new_ones(())  # nothing to copy
    mean, std = like.new_tensor(vae.config.latents_mean), like.new_tensor(vae.config.latents_std)
    return mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)


def scaled(vae: Any, latents: Tensor) -> Tensor:
    """The VAE's latents -> what the UNet sees."""
    mean, std = _statistics(vae, latents)
    return (latents - mean) * vae.config.scaling_factor / std


def unscaled(vae: Any, latents: Tensor) -> Tensor:
    """What the UNet sees -> the VAE's latents."""
    mean, std = _statistics(vae, latents)
    return latents * std / vae.config.scaling_factor + mean


def _guarded(vae: Any, work: Callable[[], Tensor]) -> Tensor:
    """`work()`, in single precision where half precision overflows, as some VAEs do (SDXL's says so itself)."""
    half = vae.dtype == torch.float16
    result = None if half and vae.config.force_upcast else work()
    if result is None or (half and not result.isfinite().all()):
        vae.to(dtype=torch.float32)
        try:
            result = work()
        finally:
            vae.to(dtype=torch.float16)
    return result


def check_finite(latents: Tensor) -> None:
    """Raises: UserError when they show nothing."""
    if not latents.isfinite().all():
        wider = {torch.float16: "use --dtype bf16 or fp32, or ", torch.bfloat16: "use --dtype fp32, or "}
        raise UserError(f"the diffusion model gave no finite numbers in {str(latents.dtype).removeprefix('torch.')}; "
                        f"{wider.get(latents.dtype, '')}copy the checkpoint again.")  # fmt: skip


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """Scaled latents -> pixels (batch, 3, height, width) around [-1, 1].

    Raises:
        UserError: when there is no picture even in single precision.
    """
    check_finite(latents)
    pixels = _guarded(vae, lambda: vae.decode(unscaled(vae, latents.to(vae.dtype)), return_dict=False)[0])
    if not pixels.isfinite().all():
        raise UserError("the VAE gave no finite numbers, its weights are probably damaged; copy the folder vae/ again.")
    return pixels


@torch.no_grad()
def posterior(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels in [-1, 1] -> mean and spread of the VAE's (unscaled) latents, in single precision."""

    def encode() -> Tensor:
        distribution = vae.encode(pixels.to(execution_device(vae), vae.dtype)).latent_dist
        return torch.stack([distribution.mean.float(), distribution.std.float()])

    mean, std = _guarded(vae, encode)
    return mean, std
