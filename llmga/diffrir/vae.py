"""The round trip through a VAE that every latent diffusion model makes: fine texture and text suffer, colours drift.

No part of the published training, which simulates the mismatch by tone alone.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmga.diffrir.kernels import bernoulli
from llmga.errors import UserError
from llmga.weight_files import from_pretrained_options

SHARE = 0.5  # of the batches that make the trip


class RoundTrip:
    """A frozen diffusers autoencoder.

    Args:
        path: its folder, or that of a pipeline with a `vae` in it.

    Raises:
        UserError: when there is none.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu"):
        from diffusers import AutoencoderKL

        folder = Path(path, "vae") if Path(path, "vae").is_dir() else Path(path)
        try:
            vae = AutoencoderKL.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **from_pretrained_options(folder, "diffusers")
            )
        except (OSError, ValueError):
            raise UserError(
                f"{str(path)!r} holds no VAE in diffusers layout; give its folder or a pipeline's."
            ) from None
        self.vae: Any = vae.to(device).requires_grad_(False).eval()
        self.unit: int = 2 ** (len(vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same, as the decoder sees the most likely latents."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.unit, 0, -height % self.unit), mode="replicate")
        latents = self.vae.encode(padded * 2 - 1).latent_dist.mode()
        return (self.vae.decode(latents).sample[..., :height, :width] / 2 + 0.5).clamp(0, 1)

    def sometimes(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A batch that makes the trip or, as often, does not."""
        return self(images) if bernoulli(SHARE, generator) else images
