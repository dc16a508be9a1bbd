"""A picture changed by words: where two prompts disagree is found, the rest stays.

The picture is noised along a path whose noise maps are kept, so that sampling with them leads back to it (edit-friendly
inversion, Huberman-Spiegelglas et al. 2023, with the second-order SDE solver of LEDITS++, Brack et al. 2023).  Sampling
with another prompt then changes only what the prompt changes.  Where to change is the difference of what both prompts
predict (DiffEdit, Couairon et al. 2022).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from llmga.diffusers.samplers import EVEN
from llmga.errors import UserError

# (noisy latents, timestep) -> noise without and with the prompt, each of the latents' shape.
Predict = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def guided(predict: Predict, latents: Tensor, time: int, scale: float | Tensor) -> Tensor:
    """Noise, moved from the unprompted towards the prompted prediction; `scale` may differ from place to place."""
    without, prompted = predict(latents, time)
    return without + scale * (prompted - without)


def edit_timesteps(steps: int, skip: float, train_timesteps: int = 1000) -> list[int]:
    """Times from where the edit starts, a share `skip` below pure noise, down to 1.

    Raises: UserError.
    """
    if not 0 <= skip < 1:
        raise UserError(f"skip {skip} is out of range; use 0 to below 1.")
    start = (1 - skip) * train_timesteps - 1
    if not 2 <= steps <= start:
        raise UserError(f"{steps} steps are out of range for editing; use 2 to {int(start)}.")
    return np.linspace(start, 1, steps).astype(int).tolist()


def difference_mask(
    source: Predict, target: Predict, noisy: Tensor, time: int, *, scale: float = 7.5, ratio: float = 3.0
) -> tuple[Tensor, Tensor]:
    """Where two prompts want different pictures.

    Args:
        noisy: (maps, channels, height, width), the picture's latents under several noises at `time`.
        scale: guidance of both predictions.
        ratio: differences are cut at this many times their mean; a place counts from half of that on.

    Returns:
        The mask (height, width), 1 where they differ, and the mean difference that it was cut from.
    """
    maps = torch.zeros(noisy.shape[-2:], device=noisy.device)
    for one in noisy.split(1):
        apart = guided(target, one, time, scale) - guided(source, one, time, scale)
        maps += apart.abs().mean(dim=(0, 1)).float() / len(noisy)
    return (maps / (ratio * maps.mean()).clamp_min(1e-12) > 0.5).to(noisy.dtype), maps


@dataclass(frozen=True)
class Path:
    """A picture's way into noise.

    Attributes:
        times: in the order of sampling, falling.
        latents: (steps + 1, batch, channels, height, width), from the clean picture to the first time.
        noises: (steps, batch, channels, height, width), what the solver adds at each step, in the order of sampling.
    """

    times: list[int]
    latents: Tensor
    noises: Tensor


def solver(scheduler: Any, times: Sequence[int]) -> DPMSolverMultistepScheduler:
    """The second-order SDE solver over these times, of one order to the end: inversion and sampling must agree."""
    own = DPMSolverMultistepScheduler.from_config(
        scheduler.config, algorithm_type="sde-dpmsolver++", solver_order=2, solver_type="midpoint",
        final_sigmas_type="sigma_min", lower_order_final=False, euler_at_final=False, **EVEN,
    )  # fmt: skip
    own.set_timesteps(timesteps=list(times))
    return own


def invert(
    predict: Predict,
    scheduler: Any,
    clean: Tensor,
    noise: Tensor,
    times: Sequence[int],
    scale: float,
    *,
    on_step: Callable[[int, int], None] | None = None,
) -> Path:
    """Find the noise maps with which sampling with this prompt and guidance leads back to the picture.

    Args:
        clean: (batch, channels, height, width), the picture's latents.
        noise: (steps, batch, channels, height, width), independent, for the times in rising order.
        scale: guidance.
        on_step: called with (step, total) after each step.
    """
    steps = solver(scheduler, times)
    signal = steps.alphas_cumprod.to(clean.device)[list(reversed(times))].to(clean.dtype)
    signal = signal.view(-1, *[1] * clean.ndim)
    latents = torch.cat([clean[None], signal.sqrt() * clean + (1 - signal).sqrt() * noise])
    noises = []
    for index, time in enumerate(times):
        here = len(times) - index
        predicted = guided(predict, latents[here], time, scale)
        spread = _spread(steps, index)
        mean = steps.step(predicted, time, latents[here], variance_noise=torch.zeros_like(clean)).prev_sample
        noises.append((latents[here - 1] - mean) / spread)
        latents[here - 1] = mean + spread * noises[-1]  # what sampling will find there, rounding included
        if on_step is not None:
            on_step(index + 1, len(times))
    return Path(list(times), latents, torch.stack(noises))


def _spread(steps: DPMSolverMultistepScheduler, index: int) -> float:
    """How much noise the solver adds in the step with this number."""
    now, after = (float(sigma) for sigma in steps.sigmas[index : index + 2])
    end = after / (1 + after**2) ** 0.5
    return end * (1 - (after / now) ** 2) ** 0.5


def follow(
    predict: Predict,
    scheduler: Any,
    path: Path,
    mask: Tensor,
    scale: float,
    *,
    restore: bool = True,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Sample along a path with another prompt.

    Args:
        mask: (height, width), where the prompt acts.
        restore: outside the mask, return to the picture; the original lets it drift to what no prompt predicts.
        on_step: called with (step, total) after each step.

    Returns:
        Latents (batch, channels, height, width).
    """
    steps, latents = solver(scheduler, path.times), path.latents[-1]
    for index, time in enumerate(path.times):
        predicted = guided(predict, latents, time, scale * mask)
        latents = steps.step(predicted, time, latents, variance_noise=path.noises[index]).prev_sample
        if restore:
            latents = torch.where(mask > 0, latents, path.latents[len(path.times) - 1 - index])
        if on_step is not None:
            on_step(index + 1, len(path.times))
    return latents
