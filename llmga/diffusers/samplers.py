"""Samplers by name, and how the few-step ones want to be used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmga.registry import Registry


@dataclass(frozen=True)
class Sampler:
    """A row of the table of samplers.

    Attributes:
        scheduler: name of the diffusers class; None is what the checkpoint names.
        settings: what differs from the checkpoint's scheduler settings.
        steps, guidance_scale: what suits the sampler; None leaves it to the checkpoint.
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


# A sampler's name says how its steps are spread, whatever the checkpoint's own scheduler does.
EVEN = {f"use_{kind}_sigmas": False for kind in ("karras", "exponential", "beta")}
TRAILING = {"timestep_spacing": "trailing"}
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
    "dpm++-2s": Sampler("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++"}),
    # For weights that were distilled to a few steps, guidance included.
    "lcm": Sampler("LCMScheduler", steps=4, guidance_scale=1.0),
    "tcd": Sampler("TCDScheduler", steps=4, guidance_scale=1.0),
    "lightning": Sampler("EulerDiscreteScheduler", TRAILING, steps=4, guidance_scale=1.0),
    "turbo": Sampler("EulerAncestralDiscreteScheduler", TRAILING, steps=1, guidance_scale=1.0),
    "hyper": Sampler("DDIMScheduler", TRAILING, steps=4, guidance_scale=1.0),
    "hyper-1step": Sampler("LCMScheduler", steps=1, guidance_scale=1.0, timesteps={1: (800,)}),
})  # fmt: skip


def scheduler_of(sampler: Sampler, own: Any) -> Any:
    """A scheduler of the sampler's class with the checkpoint's noise schedule; `own` itself for `checkpoint`."""
    if sampler.scheduler is None:
        return own
    import diffusers

    return getattr(diffusers, sampler.scheduler).from_config(own.config, **{**EVEN, **sampler.settings})


def most_steps(scheduler: Any) -> int:
    """How many steps a scheduler can take: the times of its noise schedule, or of the one it was distilled from."""
    config = scheduler.config
    shifted = getattr(config, "steps_offset", 0) if getattr(config, "timestep_spacing", "") == "leading" else 0
    times = config.num_train_timesteps - shifted  # the first step would start beyond the last time
    return min(times, getattr(config, "original_inference_steps", times))
