"""A picture changed by words: where two prompts disagree is found, the rest stays.

The picture is noised along a path whose noise maps are kept, so that sampling with them leads back to it (edit-friendly
inversion, Huberman-Spiegelglas et al. 2023, with the second-order SDE solver of LEDITS++, Brack et al. 2023).  Sampling
with another prompt then changes only what the prompt changes.  Where to change is the difference of what both prompts
predict (DiffEdit, Couairon et al. 2022).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmga.choices import RATIO
from llmga.diffusers.noise import LEAST_SIGNAL, training_schedule
from llmga.errors import UserError

# (noisy latents, timestep) -> noise without and with the prompt, each of the latents' shape.
Predict = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def guided(predict: Predict, latents: Tensor, time: int, scale: float | Tensor) -> Tensor:
    """Noise, moved from the unprompted towards the prompted prediction; `scale` may differ from place to place."""
    without, prompted = predict(latents, time)
    return without + scale * (prompted - without)


def edit_timesteps(steps: int, skip: float, train_timesteps: int = 1000) -> list[int]:
    """Times from where the edit starts, a share `skip` below pure noise, down to 1.

    Raises:
        UserError: for a number of steps or a skip out of range.
    """
    if not 0 <= skip < 1:
        raise UserError(f"skip {skip} is out of range; use 0 to below 1.")
    start = (1 - skip) * train_timesteps - 1
    if not 2 <= steps <= start:
        raise UserError(f"{steps} steps are out of range for editing; use 2 to {int(start)}.")
    return np.linspace(start, 1, steps).astype(int).tolist()


def difference_mask(
    source: Predict, target: Predict, noisy: Tensor, time: int, *, scale: float = 7.5, ratio: float = RATIO
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
class Inversion:
    """A picture's way into noise, and the noise with which sampling leads back.

    Attributes:
        times: in the order of sampling, falling.
        latents: (steps + 1, batch, channels, height, width), from the clean picture to the first time.
        noises: (steps, batch, channels, height, width), what the solver adds at each step, in the order of sampling.
    """

    times: list[int]
    latents: Tensor
    noises: Tensor


# (noisy latents, what the UNet says, signal, noise) -> clean latents, by what a UNet predicts.
CLEAN: dict[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "epsilon": lambda noisy, said, signal, noise: (noisy - noise * said) / signal,
    "v_prediction": lambda noisy, said, signal, noise: signal * noisy - noise * said,
    "sample": lambda noisy, said, signal, noise: said,
}


@dataclass(frozen=True)
class EditStep:
    """One step of the solver, affine in its noise: the only place where either direction computes latents."""

    mean: Tensor
    spread: float

    def __call__(self, noise: Tensor) -> Tensor:
        """Where the step leads with this noise."""
        return self.mean + self.spread * noise

    def noise_to(self, latents: Tensor) -> Tensor:
        """The noise with which the step leads there, but for rounding."""
        return (latents - self.mean) / self.spread


class EditSolver:
    """SDE-DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095): midpoint, of second order from the second step to the last.

    Factors are computed in double precision and latents keep their own format, so that a step rounds once and depends
    on nothing but what it is given.

    Args:
        scheduler: the checkpoint's; its configuration states the noise and what the UNet predicts.
        times: falling; the last step ends at time 0.
    """

    def __init__(self, scheduler: Any, times: Sequence[int]):
        schedule = training_schedule(scheduler)
        self.clean: Callable[[Tensor, Tensor, float, float], Tensor] = CLEAN[schedule.config.prediction_type]
        kept = schedule.alphas_cumprod.double().clamp_min(LEAST_SIGNAL)[[*times, 0]].tolist()
        self.signal: list[float] = [share**0.5 for share in kept]
        self.noise: list[float] = [(1 - share) ** 0.5 for share in kept]
        self.log_ratio: list[float] = [math.log(a / b) for a, b in zip(self.signal, self.noise, strict=True)]
        self.index: int = 0
        self.before: Tensor | None = None  # the clean latents of the step before

    def step(self, latents: Tensor, said: Tensor) -> EditStep:
        """The next step, from where it starts and what the UNet says there."""
        here, there = self.index, self.index + 1
        clean = self.clean(latents, said, self.signal[here], self.noise[here])
        length = self.log_ratio[there] - self.log_ratio[here]
        ahead = clean
        if self.before is not None:  # towards the middle of the step
            ahead = clean + 0.5 * length / (self.log_ratio[here] - self.log_ratio[here - 1]) * (clean - self.before)
        self.index, self.before = there, clean
        stays = self.noise[there] / self.noise[here] * math.exp(-length)
        gone = -math.expm1(-2 * length)
        return EditStep(stays * latents + self.signal[there] * gone * ahead, self.noise[there] * gone**0.5)


def invert(
    predict: Predict,
    scheduler: Any,
    clean: Tensor,
    noise: Tensor,
    times: Sequence[int],
    scale: float,
    *,
    on_step: Callable[[int, int], None] | None = None,
) -> Inversion:
    """Find the noise maps with which sampling with this prompt and guidance leads back to the picture.

    Sampling takes the very steps that were taken here, so the way back misses by the rounding of the last one only,
    however many there are.

    Args:
        clean: (batch, channels, height, width), the picture's latents.
        noise: (steps, batch, channels, height, width), independent, for the times in rising order.
        scale: guidance.
        on_step: called with (step, total) after each step.
    """
    solver = EditSolver(scheduler, times)
    signal, spread = (
        clean.new_tensor(values[-2::-1]).view(-1, *[1] * clean.ndim) for values in (solver.signal, solver.noise)
    )
    latents = torch.cat([clean[None], signal * clean + spread * noise])
    noises = []
    for index, time in enumerate(times):
        here = len(times) - index
        step = solver.step(latents[here], guided(predict, latents[here], time, scale))
        noises.append(step.noise_to(latents[here - 1]))
        latents[here - 1] = step(noises[-1])  # what sampling will find there, rounding included
        if on_step is not None:
            on_step(index + 1, len(times))
    return Inversion(list(times), latents, torch.stack(noises))


def follow(
    predict: Predict,
    scheduler: Any,
    path: Inversion,
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
    solver, latents = EditSolver(scheduler, path.times), path.latents[-1]
    scales = scale * mask.to(latents.dtype)
    for index, time in enumerate(path.times):
        latents = solver.step(latents, guided(predict, latents, time, scales))(path.noises[index])
        if restore:
            latents = torch.where(mask > 0, latents, path.latents[len(path.times) - 1 - index])
        if on_step is not None:
            on_step(index + 1, len(path.times))
    return latents
