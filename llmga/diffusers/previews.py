"""Small pictures of an unfinished painting: the latents, averaged to a few positions, through the VAE's own decoder."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from llmga.diffusers.latents import decode

LATENT_SIDE = 32  # decoding so few positions costs little beside a step; averaging also takes out some of the noise


class Previews:
    """Makes a small picture of the latents (1, channels, height, width) of the step just done.

    Args:
        pipe: a diffusers pipeline, whose VAE decodes, and whose scheduler states how much noise is left.
    """

    def __init__(self, pipe: Any):
        self.pipe = pipe

    def __call__(self, latents: Tensor) -> Image.Image:
        height, width = latents.shape[-2:]
        scale = min(1.0, LATENT_SIDE / max(height, width))
        few = max(1, round(height * scale)), max(1, round(width * scale))
        small = torch.nn.functional.adaptive_avg_pool2d(latents.float() / self._noise_scale(), few)
        pixels = decode(self.pipe.vae, small.to(latents.dtype))[0].float().clamp(-1, 1)
        return Image.fromarray(((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())

    def _noise_scale(self) -> float:
        """How much larger than clean ones the latents are at this step: samplers of the Euler kind add noise on top."""
        scheduler = self.pipe.scheduler
        sigmas, step = getattr(scheduler, "sigmas", None), getattr(scheduler, "step_index", None)
        if sigmas is None or step is None or float(scheduler.init_noise_sigma) <= 1:
            return 1.0
        return float(sigmas[min(step, len(sigmas) - 1)] ** 2 + 1) ** 0.5
