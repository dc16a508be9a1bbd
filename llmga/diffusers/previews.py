"""Small pictures of an unfinished painting: the latents, averaged to a few positions, through the VAE's own decoder."""

from typing import Any

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from llmga.diffusers.latents import decode

LATENT_SIDE = 32  # decoding so few positions costs little beside a step; averaging also takes out some of the noise


class Previews:
    """Makes a small picture of the latents of the step just done.

    Args:
        pipe: a diffusers pipeline, whose VAE decodes, and whose scheduler states how much noise is left.
        patch: side of the square of latents that are one token, see `OwnText.patch`.
    """

    def __init__(self, pipe: Any, patch: int = 0):
        self.pipe = pipe
        self.patch = patch

    def __call__(self, latents: Tensor, size: tuple[int | None, int | None] = (None, None)) -> Image.Image | None:
        """The picture; None where the latents are in an order that is not known.

        Args:
            latents: (1, channels, height, width), or (1, tokens, channels).
            size: width and height in pixels of what is painted.
        """
        unfolded = self._unfolded(latents, *size)
        if unfolded is None:
            return None
        height, width = unfolded.shape[-2:]
        scale = min(1.0, LATENT_SIDE / max(height, width))
        few = max(1, round(height * scale)), max(1, round(width * scale))
        small = torch.nn.functional.adaptive_avg_pool2d(unfolded.float() / self._noise_scale(), few)
        pixels = decoded(self.pipe.vae, small.to(latents.dtype))[0].float().clamp(-1, 1)
        return Image.fromarray(((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())

    def _unfolded(self, latents: Tensor, width: int | None, height: int | None) -> Tensor | None:
        """Tokens as (1, channels, height, width)."""
        if latents.ndim == 4:
            return latents
        if not self.patch or latents.ndim != 3 or width is None or height is None:
            return None
        side = self.pipe.vae_scale_factor * 2  # in pixels, of a token
        rows, columns = height // side, width // side
        if rows * columns != latents.shape[1]:
            return None
        return rearrange(latents, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, w=columns, p=self.patch, q=self.patch)

    def _noise_scale(self) -> float:
        """How much larger than clean ones the latents are at this step: samplers of the Euler kind add noise on top."""
        scheduler = self.pipe.scheduler
        sigmas, step = getattr(scheduler, "sigmas", None), getattr(scheduler, "step_index", None)
        if sigmas is None or step is None or float(getattr(scheduler, "init_noise_sigma", 1)) <= 1:
            return 1.0
        return float(sigmas[min(step, len(sigmas) - 1)] ** 2 + 1) ** 0.5


@torch.no_grad()
def decoded(vae: Any, latents: Tensor) -> Tensor:
    """Latents as a denoiser has them -> pixels (batch, 3, height, width), of the VAEs that want something first.

    FLUX.2's normalises patches of two by two latents; Qwen-Image's is one for videos.
    """
    if hasattr(vae, "bn"):
        spread = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
        shift, spread = (each.view(1, -1, 1, 1).to(latents) for each in (vae.bn.running_mean, spread))
        clean = rearrange(latents * spread + shift, "b (c p q) h w -> b c (h p) (w q)", p=2, q=2)
        return vae.decode(clean, return_dict=False)[0]
    if "z_dim" in vae.config:
        mean, std = (latents.new_tensor(vae.config[name]).view(1, -1, 1, 1) for name in ("latents_mean", "latents_std"))
        return vae.decode((latents * std + mean)[:, :, None], return_dict=False)[0][:, :, 0]
    return decode(vae, latents)
