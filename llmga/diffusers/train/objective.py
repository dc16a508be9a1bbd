"""What the UNet is asked: given a noisy picture and a time, say the noise (or the velocity)."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.training_utils import compute_snr
from torch import Tensor

from llmga.diffusers.noise import training_schedule
from llmga.diffusers.train.config import Stage2Config
from llmga.errors import UserError

Predict = Callable[[Tensor, Tensor], Tensor]


class DenoisingObjective:
    """Denoising loss over the noise schedule of a checkpoint.

    Args:
        scheduler: the checkpoint's sampler; its configuration states the schedule and what the UNet predicts.
        snr_gamma: weigh each picture by min(SNR, gamma) (Hang et al. 2023, arXiv:2303.09556); None for equal weights.
        noise_offset: share of a constant added to each channel's noise, so that very dark and bright can be learnt.
        prediction: what the UNet is to say, epsilon or v_prediction; None for what the configuration states.

    Raises:
        UserError: the prediction is another, or the checkpoint of a kind that is not trained here, see `noise`.
    """

    def __init__(
        self,
        scheduler: object,
        *,
        snr_gamma: float | None = None,
        noise_offset: float = 0.0,
        prediction: str | None = None,
    ):
        self.schedule: Any = training_schedule(scheduler, prediction)
        self.prediction: str = self.schedule.config.prediction_type
        if self.prediction not in ("epsilon", "v_prediction"):
            raise UserError(f"the checkpoint predicts {self.prediction!r}; epsilon and v_prediction can be trained.")
        self.snr_gamma = snr_gamma
        self.noise_offset = noise_offset

    def draw(self, shape: torch.Size, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise of `shape` (batch, channels, height, width) and uniform timesteps (batch,), both on the CPU."""
        noise = torch.randn(shape, generator=generator)
        if self.noise_offset:
            noise = noise + self.noise_offset * torch.randn((*shape[:2], 1, 1), generator=generator)
        return noise, torch.randint(self.schedule.config.num_train_timesteps, (shape[0],), generator=generator)

    def loss(
        self,
        predict: Predict,
        latents: Tensor,
        noise: Tensor,
        times: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the prediction, a scalar.

        Args:
            predict: (noisy latents, timesteps) -> what the UNet says, of the latents' shape.
            weights: (batch,) of the pictures; None for equal ones.
        """
        said = predict(self.schedule.add_noise(latents, noise, times), times)
        error = (said.float() - self._target(latents, noise, times).float()).square().mean(dim=(1, 2, 3))
        if self.snr_gamma is not None:
            error = error * self._weights(times)
        return error.mean() if weights is None else (error * weights).mean()

    def _target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        return noise if self.prediction == "epsilon" else self.schedule.get_velocity(latents, noise, times)

    def _weights(self, times: Tensor) -> Tensor:
        """(batch,): the loss on x0 is capped at gamma; dividing turns it into one on epsilon or on the velocity.

        Where nothing of a picture is left (zero terminal SNR) this is 0: that time is not learnt with min-SNR.
        """
        snr = compute_snr(self.schedule, times)
        capped = snr.clamp(max=self.snr_gamma)
        return capped / snr if self.prediction == "epsilon" else capped / (snr + 1)


def objective_of(config: Stage2Config, scheduler: object) -> DenoisingObjective:
    """What a run asks of the UNet of a checkpoint with this scheduler.

    Raises:
        UserError: as `DenoisingObjective`.
    """
    return DenoisingObjective(
        scheduler, snr_gamma=config.snr_gamma, noise_offset=config.noise_offset,
        prediction=None if config.prediction == "checkpoint" else config.prediction,
    )  # fmt: skip
