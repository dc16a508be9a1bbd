"""Tasks as rows: what the UNet is given beside the noisy latents and the text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from llmga.diffusers.families import INPAINTING, TEXT_TO_IMAGE
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.train.batches import Batch
from llmga.registry import Registry


@dataclass(frozen=True)
class Task:
    """What a task adds to the noisy latents.

    Attributes:
        extra_channels: latent channels (4) -> input channels of the UNet beyond the noisy latents.
        conditioning: (VAE, batch, generator) -> what fills them, (batch, extra channels, height, width), or None.
        holes: whether pictures come with a region that is to be filled.
    """

    extra_channels: Callable[[int], int]
    conditioning: Callable[[Any, Batch, torch.Generator], Tensor | None]
    holes: bool = False


def nothing(vae: Any, batch: Batch, generator: torch.Generator) -> None:
    """Painting from words: the noise is all there is to see."""


def mask_and_kept_part(vae: Any, batch: Batch, generator: torch.Generator) -> Tensor:
    """Inpainting: the mask, 1 where to paint, then the latents of the picture with mid-gray there."""
    assert batch.masks is not None
    mean, std = posterior(vae, batch.images * (batch.masks < 0.5))
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    kept = scaled(vae, mean + std * noise)
    return torch.cat([interpolate(batch.masks, kept.shape[-2:]).to(kept.device), kept], dim=1)


def widened(unet: Any, channels: int) -> Any:
    """The UNet with an input of more channels, which it does not look at yet: its first answers stay the same."""
    old = unet.conv_in
    if old.in_channels == channels:
        return unet
    new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, dtype=old.weight.dtype)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
    new.bias = old.bias
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)
    return unet


TASKS = Registry("task", {
    TEXT_TO_IMAGE: Task(lambda latent: 0, nothing),
    INPAINTING: Task(lambda latent: latent + 1, mask_and_kept_part, holes=True),
})  # fmt: skip
