"""What the UNet is asked: given a noisy picture and a time, say the noise (or the velocity)."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
    compute_snr,
)
from torch import Tensor

from llmga.diffusers.noise import FLOW, kind_of, training_schedule
from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.networks import NETWORKS
from llmga.errors import UserError

Predict = Callable[[Tensor, Tensor], Tensor]


class Objective(Protocol):
    """What a network is taught.

    Attributes:
        prediction: what it learns to say: `epsilon`, `v_prediction` or `flow`.
    """

    prediction: str

    def draw(self, shape: torch.Size, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise of `shape` and times (batch,), both on the CPU."""

    def loss(
        self, predict: Predict, latents: Tensor, noise: Tensor, times: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """A scalar."""

    def tell(self, scheduler: Any) -> None:
        """Let the sampler of the result know what the network says."""


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

    def tell(self, scheduler: Any) -> None:
        """Let the sampler of the result know what the network says."""
        scheduler.register_to_config(prediction_type=self.prediction)

    def _target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        return noise if self.prediction == "epsilon" else self.schedule.get_velocity(latents, noise, times)

    def _weights(self, times: Tensor) -> Tensor:
        """(batch,): the loss on x0 is capped at gamma; dividing turns it into one on epsilon or on the velocity.

        Where nothing of a picture is left (zero terminal SNR) this is 0: that time is not learnt with min-SNR.
        """
        snr = compute_snr(self.schedule, times)
        capped = snr.clamp(max=self.snr_gamma)
        return capped / snr if self.prediction == "epsilon" else capped / (snr + 1)


class FlowObjective:
    """Rectified flow: between picture and noise the network says the way from one to the other, which is straight.

    Esser et al. 2024, arXiv:2403.03206, by the functions of diffusers that its trainers use.

    Args:
        scheduler: the checkpoint's, whose shift of times is the one that it was trained with.
        weighting: how times are drawn and losses weighted: `logit_normal`, `mode`, `sigma_sqrt`, `cosmap` or `none`.
        logit_mean, logit_std: of `logit_normal`.
        mode_scale: of `mode`.

    Raises:
        UserError: the checkpoint is of another kind, or shifts times by the size of the picture.
    """

    prediction: str = "flow"

    def __init__(
        self,
        scheduler: Any,
        *,
        weighting: str = "logit_normal",
        logit_mean: float = 0.0,
        logit_std: float = 1.0,
        mode_scale: float = 1.29,
    ):
        from diffusers import FlowMatchEulerDiscreteScheduler

        if kind_of(scheduler) != FLOW or scheduler.config.get("use_dynamic_shifting"):
            raise UserError(f"the scheduler of the checkpoint is {type(scheduler).__name__} with other times than SD3 "
                            "was trained with; name FlowMatchEulerDiscreteScheduler without use_dynamic_shifting in "
                            "its scheduler folder.")  # fmt: skip
        shift = scheduler.config.get("shift", scheduler.config.get("flow_shift", 1.0))
        steps = scheduler.config.num_train_timesteps
        self.schedule: Any = FlowMatchEulerDiscreteScheduler(num_train_timesteps=steps, shift=shift)
        self.weighting = weighting
        self.density: dict[str, Any] = {"logit_mean": logit_mean, "logit_std": logit_std, "mode_scale": mode_scale}

    def draw(self, shape: torch.Size, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise of `shape` (batch, channels, height, width) and places (batch,) in the schedule, both on the CPU."""
        noise = torch.randn(shape, generator=generator)
        share = compute_density_for_timestep_sampling(self.weighting, shape[0], generator=generator, **self.density)
        steps = self.schedule.config.num_train_timesteps
        return noise, (share * steps).long().clamp(max=steps - 1)

    def loss(
        self, predict: Predict, latents: Tensor, noise: Tensor, times: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Mean squared error of the velocity, a scalar.

        Args:
            predict: (noisy latents, times from 0 to 1000) -> what the network says, of the latents' shape.
            times: places in the schedule.
            weights: (batch,) of the pictures; None for equal ones.
        """
        sigmas, told = (each.to(times.device)[times] for each in (self.schedule.sigmas, self.schedule.timesteps))
        share = sigmas.view(-1, 1, 1, 1)
        said = predict((1 - share) * latents + share * noise, told)
        error = (said.float() - (noise - latents).float()).square().mean(dim=(1, 2, 3))
        error = error * compute_loss_weighting_for_sd3(self.weighting, sigmas)
        return error.mean() if weights is None else (error * weights).mean()

    def tell(self, scheduler: Any) -> None:
        """Samplers of flows know it."""


def objective_of(config: Stage2Config, scheduler: Any) -> Objective:
    """What a run asks of the network of a checkpoint with this scheduler.

    Raises:
        UserError: as `DenoisingObjective` and `FlowObjective`.
    """
    if NETWORKS[config.family].flows:
        return FlowObjective(
            scheduler, weighting=config.weighting_scheme, logit_mean=config.logit_mean, logit_std=config.logit_std,
            mode_scale=config.mode_scale,
        )  # fmt: skip
    return DenoisingObjective(
        scheduler, snr_gamma=config.snr_gamma, noise_offset=config.noise_offset,
        prediction=None if config.prediction == "checkpoint" else config.prediction,
    )  # fmt: skip
