"""The prior's own small diffusion: a few steps over one 256-vector, the last of which is the denoiser's answer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmga.diffrir.layers import PRIOR_WIDTH, SLOPE


def schedule(timesteps: int, start: float, end: float) -> dict[str, Tensor]:
    """Every array of the schedule that published checkpoints carry, each of shape (timesteps,), float32.

    Betas are linear in their roots; all arithmetic is in double precision.
    """
    # On the CPU even while a model without weights is made on the meta device.
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64, device="cpu").square()
    bars = (1 - betas).cumprod(0)
    before = torch.cat([bars.new_ones(1), bars[:-1]])
    variance = betas * (1 - before) / (1 - bars)
    arrays = {
        "betas": betas,
        "alphas_cumprod": bars,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": bars.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - bars).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - bars).log(),
        "sqrt_recip_alphas_cumprod": bars.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / bars - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp_min(1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - bars),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - bars),
    }
    return {name: array.float() for name, array in arrays.items()}


class DenoiserLayer(nn.Module):
    """A linear layer and its rectifier; nothing is added to what came in, whatever the published name says."""

    def __init__(self) -> None:
        super().__init__()
        self.resmlp: nn.Sequential = nn.Sequential(nn.Linear(PRIOR_WIDTH, PRIOR_WIDTH), nn.LeakyReLU(SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 256) -> (B, 256)."""
        return self.resmlp(x)


class Denoiser(nn.Module):
    """Guesses the clean prior from a noisy one, its step and the condition."""

    def __init__(self, layers: int, timesteps: int):
        super().__init__()
        self.longest: int = 10 * timesteps
        first = nn.Linear(2 * PRIOR_WIDTH + 1, PRIOR_WIDTH)
        self.resmlp: nn.Sequential = nn.Sequential(
            first, nn.LeakyReLU(SLOPE), *(DenoiserLayer() for _ in range(layers))
        )

    def forward(self, x: Tensor, step: int, condition: Tensor) -> Tensor:
        """(B, 256), a step from 0, (B, 256) -> (B, 256)."""
        time = x.new_full((len(x), 1), step / self.longest)
        return self.resmlp(torch.cat([condition, time, x], dim=1))


class PriorDiffusion:
    """Forward and backward through the schedule.  Holds no parameters."""

    def __init__(self, timesteps: int, start: float, end: float):
        self.timesteps = timesteps
        self.arrays: dict[str, Tensor] = schedule(timesteps, start, end)

    def _at(self, name: str, step: int) -> float:
        return self.arrays[name][step].item()

    def noised(self, prior: Tensor, noise: Tensor) -> Tensor:
        """A clean prior carried to the last step, from which training starts: (B, 256) twice -> (B, 256)."""
        last = self.timesteps - 1
        return self._at("sqrt_alphas_cumprod", last) * prior + self._at("sqrt_one_minus_alphas_cumprod", last) * noise

    def steps(self, denoiser: Denoiser, x: Tensor, condition: Tensor) -> list[tuple[Tensor, Tensor]]:
        """From the last step down to 0, each time the vector after the step and the denoiser's guess.

        Only the posterior's mean is used, so nothing is random here, and every step can be differentiated.
        """
        path = []
        for step in reversed(range(self.timesteps)):
            guess = denoiser(x, step, condition)
            x = self._at("posterior_mean_coef1", step) * guess + self._at("posterior_mean_coef2", step) * x
            path.append((x, guess))
        return path

    def __call__(self, denoiser: Denoiser, x: Tensor, condition: Tensor) -> Tensor:
        """The clean prior, (B, 256), from (B, 256) noise."""
        return self.steps(denoiser, x, condition)[-1][0]


def prior_kl(student: Tensor, teacher: Tensor, temperature: float = 0.15) -> Tensor:
    """Divergence of two priors read as distributions; the published training logs it and never minimises it."""
    student, teacher = (F.log_softmax(prior / temperature, dim=1) for prior in (student, teacher))
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)
