"""Samplers by name, and how the few-step ones want to be used."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmga.diffusers.noise import ZERO_TERMINAL, check_kind, kind_of, trained_with
from llmga.errors import UserError
from llmga.registry import Registry


@dataclass(frozen=True)
class Sampler:
    """A row of the table of samplers.

    Attributes:
        scheduler: name of the diffusers class; None is what the checkpoint names.
        settings: what differs from the checkpoint's scheduler settings.
        steps: what suits the sampler; None leaves it to the checkpoint.
        guidance_scale: as `steps`.
        timesteps: step count -> the times themselves, where even spacing would miss the ones that were trained.
    """

    scheduler: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    guidance_scale: float | None = None
    timesteps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def schedule(self, steps: int) -> dict[str, Any]:
        """Keyword arguments of a pipeline."""
        if steps in self.timesteps:
            return {"num_inference_steps": steps, "timesteps": list(self.timesteps[steps])}
        return {"num_inference_steps": steps}


TRAILING: dict[str, Any] = {"timestep_spacing": "trailing"}
KARRAS = {"use_karras_sigmas": True}
DPM, SDE = "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}

SAMPLERS = Registry("sampler", {
    "checkpoint": Sampler(None),
    "ddim": Sampler("DDIMScheduler"),
    "pndm": Sampler("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": Sampler("EulerDiscreteScheduler"),
    "euler-a": Sampler("EulerAncestralDiscreteScheduler"),
    "heun": Sampler("HeunDiscreteScheduler"),
    "unipc": Sampler("UniPCMultistepScheduler"),
    "dpm++-2m": Sampler(DPM, {"algorithm_type": "dpmsolver++"}),
    "dpm++-2m-karras": Sampler(DPM, {"algorithm_type": "dpmsolver++", **KARRAS}),
    "dpm++-2m-sde": Sampler(DPM, SDE),
    "dpm++-2m-sde-karras": Sampler(DPM, {**SDE, **KARRAS}),
    "dpm++-2s": Sampler("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++", "lower_order_final": True}),
    # For weights that were distilled to a few steps, guidance included; with more steps and guidance they paint with
    # ordinary weights, too, but for the one that goes straight from one time to the picture.
    "lcm": Sampler("LCMScheduler", steps=4, guidance_scale=1.0),
    "tcd": Sampler("TCDScheduler", steps=4, guidance_scale=1.0),
    "lightning": Sampler("EulerDiscreteScheduler", TRAILING, steps=4, guidance_scale=1.0),
    "turbo": Sampler("EulerAncestralDiscreteScheduler", TRAILING, steps=1, guidance_scale=1.0),
    "hyper": Sampler("DDIMScheduler", TRAILING, steps=4, guidance_scale=1.0),
    "hyper-1step": Sampler("LCMScheduler", steps=1, guidance_scale=1.0, timesteps={1: (800,)}),
})  # fmt: skip

# What a checkpoint's scheduler may say of where steps lie, for samplers that know it.  All else is the sampler's own:
# its name says how steps are spread and of which order they are, whatever the checkpoint's own scheduler does.
SPACING = (
    *("timestep_spacing", "steps_offset", "set_alpha_to_one", "lambda_min_clipped"),
    *("original_inference_steps", "timestep_scaling"),
)
# Cutting to a range is for pixels; latents have none, yet some schedulers cut where a checkpoint says nothing.
UNCUT = {"clip_sample": False, "thresholding": False}


def scheduler_of(sampler: Sampler, own: Any) -> Any:
    """A scheduler of the sampler's class with the checkpoint's noise schedule; `own` for `checkpoint`.

    A checkpoint's own scheduler that would cut latents to the range of pixels, or leave out the last time of a
    zero-terminal-SNR schedule only because nothing was stated, is made not to.

    Raises:
        UserError: when the sampler does not suit the checkpoint's kind, or that contradicts itself, see `noise`.
    """
    check_kind(own)
    if sampler.scheduler is None:
        return _mended(own)
    if not _suits(sampler, own):
        name = next(name for name, row in SAMPLERS.items() if row is sampler)
        others = [name for name, row in SAMPLERS.items() if _suits(row, own)]
        raise UserError(f"sampler {name!r} does not suit a checkpoint of the kind {kind_of(own)} "
                        f"({type(own).__name__}); use one of: {', '.join(others)}.")  # fmt: skip
    stated = {name: own.config[name] for name in SPACING if name in own.config and not _left_out(own, name)}
    spacing = TRAILING if kind_of(own) == ZERO_TERMINAL else {}
    settings = {**stated, **spacing, **UNCUT, **trained_with(own)}
    known = {name: value for name, value in settings.items() if name in _known(sampler)}
    return _class_of(sampler)(**known | dict(sampler.settings))


def _class_of(sampler: Sampler) -> Any:
    import diffusers

    return getattr(diffusers, str(sampler.scheduler))


def _known(sampler: Sampler) -> Mapping[str, Any]:
    """Settings of the sampler's class."""
    return inspect.signature(_class_of(sampler).__init__).parameters


def _suits(sampler: Sampler, own: Any) -> bool:
    """Whether it can sample the checkpoint's kind: where nothing of a picture is left, some cannot start."""
    if sampler.scheduler is None or kind_of(own) is None:
        return True
    return kind_of(own) == ZERO_TERMINAL and "rescale_betas_zero_snr" in _known(sampler) and (
        not sampler.settings.get("use_karras_sigmas")
    )  # fmt: skip


def _left_out(scheduler: Any, name: str) -> bool:
    """Whether a setting is only its class's default."""
    return name in scheduler.config.get("_use_default_values", ())


def _mended(own: Any) -> Any:
    changed: dict[str, Any] = {name: value for name, value in UNCUT.items() if own.config.get(name)}
    if kind_of(own) == ZERO_TERMINAL and _left_out(own, "timestep_spacing"):
        changed |= TRAILING
    return type(own).from_config(own.config, **changed) if changed else own


def most_steps(scheduler: Any) -> int:
    """How many steps a scheduler can take: the times of its noise schedule, or of the one it was distilled from."""
    config = scheduler.config
    shifted = getattr(config, "steps_offset", 0) if getattr(config, "timestep_spacing", "") == "leading" else 0
    times = config.num_train_timesteps - shifted  # the first step would start beyond the last time
    return min(times, getattr(config, "original_inference_steps", times))
