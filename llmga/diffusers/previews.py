"""Small pictures of an unfinished painting: latents to colours by a linear map, without the VAE's decoder.

The map is asked of the VAE itself: flat colours are encoded and the map back is fitted by least squares, so that every
VAE has previews, not only the ones whose numbers are published.
"""

from itertools import product
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from llmga.diffusers.latents import posterior, scaled

LEVELS = (-1.0, 0.0, 1.0)
FLAT_SIDE = 32


class Previews:
    """Latents (1, channels, height, width) to a picture of one pixel for each latent position."""

    def __init__(self, pipeline: Any):
        self.pipeline = pipeline
        self.map = _fitted(pipeline.vae)

    def __call__(self, latents: Tensor) -> Image.Image:
        clean = latents[0].float().cpu() / self._noise_scale()
        ones = torch.ones_like(clean[:1])
        colours = torch.einsum("chw,cd->hwd", torch.cat([clean, ones]), self.map)
        return Image.fromarray(((colours.clamp(-1, 1) + 1) * 127.5).round().byte().numpy())

    def _noise_scale(self) -> float:
        """How much larger than clean ones the latents are at this step: samplers of the Euler kind add noise on top."""
        scheduler = self.pipeline.scheduler
        sigmas, step = getattr(scheduler, "sigmas", None), getattr(scheduler, "step_index", None)
        if sigmas is None or step is None or float(scheduler.init_noise_sigma) <= 1:
            return 1.0
        return float(sigmas[min(step, len(sigmas) - 1)] ** 2 + 1) ** 0.5


@torch.no_grad()
def _fitted(vae: Any) -> Tensor:
    """(channels + 1, 3): the last row is the constant."""
    colours = torch.tensor(list(product(LEVELS, repeat=3)))
    flat = colours[:, :, None, None].expand(-1, -1, FLAT_SIDE, FLAT_SIDE)
    latents = scaled(vae, posterior(vae, flat)[0]).mean(dim=(2, 3)).cpu()
    return torch.linalg.lstsq(torch.cat([latents, torch.ones(len(latents), 1)], dim=1), colours).solution
