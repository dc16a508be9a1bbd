"""What a single file's UNet says and how its noise was laid out: from marks that its maker left, or by assumption."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmga.diffusers.single_file.families import UNET, SingleFileFamily
from llmga.diffusers.single_file.tensors import TensorFile

EPSILON, VELOCITY = "epsilon", "v_prediction"
STATED = {"v": VELOCITY, "v_prediction": VELOCITY, "epsilon": EPSILON, "eps": EPSILON}
SD2_BASE_STEP = 875000  # global_step of the 512-pixel base, which says epsilon
VELOCITY_SPREAD = 0.09  # of the biases below, more than which only velocity models of SD2 have (ComfyUI's rule)
SPREAD_OF = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
DISTILLED = {"turbo": "turbo", "lightning": "lightning", "hyper": "hyper", "lcm": "lcm"}  # word of a title -> sampler
PLAYGROUND: dict[str, Any] = {
    "sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002, "rho": 7.0, "solver_order": 2,
    "algorithm_type": "dpmsolver++", "solver_type": "midpoint", "prediction_type": EPSILON,
}  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """How a checkpoint is sampled.

    Attributes:
        prediction: `epsilon` or `v_prediction`.
        why: what says so, for a person.
        scheduler: class of diffusers.
        settings: of the scheduler.
        vae: settings of the VAE that go with it.
        sampler: the row of `SAMPLERS` that its metadata asks for.
    """

    prediction: str
    why: str
    scheduler: str
    settings: Mapping[str, Any]
    vae: Mapping[str, Any] = field(default_factory=dict)
    sampler: str | None = None


def schedule_of(file: TensorFile, family: SingleFileFamily) -> Schedule:
    """The first mark that says it; without any, noise (epsilon) on the family's schedule."""
    for rule in (_edm, _marked, _sidecar, _metadata, _second):
        if (found := rule(file, family)) is not None:
            return found
    return _usual(family, EPSILON, "assumed: nothing in it says otherwise", sampler=_distilled(file))


Rule = Callable[[TensorFile, SingleFileFamily], Schedule | None]


def _usual(family: SingleFileFamily, prediction: str, why: str, sampler: str | None = None, **more: Any) -> Schedule:
    kind, settings = family.scheduler
    return Schedule(prediction, why, kind, {**settings, "prediction_type": prediction, **more}, sampler=sampler)


def _edm(file: TensorFile, family: SingleFileFamily) -> Schedule | None:
    """Playground 2.5, whose latents have means of their own, and CosXL."""
    if "edm_mean" in file and "edm_std" in file:
        means, spreads = (file[name].flatten().float().tolist() for name in ("edm_mean", "edm_std"))
        vae = {"latents_mean": means, "latents_std": spreads, "scaling_factor": 0.5}
        return Schedule(EPSILON, "an EDM, by its keys edm_mean and edm_std", "EDMDPMSolverMultistepScheduler",
                        PLAYGROUND, vae)  # fmt: skip
    if "edm_vpred.sigma_max" in file:
        sigmas = {f"sigma_{end}": float(file[f"edm_vpred.sigma_{end}"]) for end in ("max", "min")
                  if f"edm_vpred.sigma_{end}" in file}  # fmt: skip
        settings = {"sigma_data": 1.0, "prediction_type": VELOCITY, "sigma_schedule": "exponential", **sigmas}
        return Schedule(VELOCITY, "an EDM, by its key edm_vpred.sigma_max", "EDMEulerScheduler", settings)
    return None


def _marked(file: TensorFile, family: SingleFileFamily) -> Schedule | None:
    if "v_pred" not in file:
        return None
    if "ztsnr" in file:
        more = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        kind = {"PNDMScheduler": "DDIMScheduler"}.get(family.scheduler[0], family.scheduler[0])  # PNDM knows no such
        found = _usual(family, VELOCITY, "by its keys v_pred and ztsnr", sampler=_distilled(file), **more)
        return Schedule(found.prediction, found.why, kind, found.settings, sampler=found.sampler)
    return _usual(family, VELOCITY, "by its key v_pred", sampler=_distilled(file))


def _sidecar(file: TensorFile, family: SingleFileFamily) -> Schedule | None:
    """A YAML of the same name beside the file, as other programs want it for SD2."""
    beside = file.path.with_suffix(".yaml")
    if not beside.is_file():
        return None
    words = set(_words(beside))
    if "v" in words or any(word.endswith("VScaling") for word in words):
        return _usual(family, VELOCITY, f"by {beside.name} beside it")
    return _usual(family, EPSILON, f"by {beside.name} beside it")


def _words(beside: Path) -> Iterator[str]:
    """What a YAML names as its parameterization or its scaling."""
    import yaml

    try:
        content = yaml.safe_load(beside.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return
    yield from _below(content)


def _below(value: Any) -> Iterator[str]:
    for name, each in value.items() if isinstance(value, dict) else ():
        if name == "parameterization" or (name == "target" and str(each).endswith("Scaling")):
            yield str(each)
        yield from _below(each)


def _metadata(file: TensorFile, family: SingleFileFamily) -> Schedule | None:
    stated = STATED.get(file.header.metadata.get("modelspec.prediction_type", ""))
    return stated and _usual(family, stated, "by its metadata", sampler=_distilled(file)) or None


def _second(file: TensorFile, family: SingleFileFamily) -> Schedule | None:
    """SD2 comes in both, with the same names and shapes."""
    if family.name != "sd2" or file.kind.channels != 4:
        return None
    if (step := file.header.numbers.get("global_step")) == SD2_BASE_STEP:
        return _usual(family, EPSILON, f"by its global_step {step}")
    if SPREAD_OF in file and float(file[SPREAD_OF].float().std(unbiased=False)) > VELOCITY_SPREAD:
        return _usual(family, VELOCITY, "assumed from the spread of its last biases")
    return None


def _distilled(file: TensorFile) -> str | None:
    """The sampler of what its title calls a distillation: its tensors look like those of any other."""
    title = " ".join(file.header.metadata.get(f"modelspec.{name}", "") for name in ("title", "architecture")).lower()
    return next((sampler for word, sampler in DISTILLED.items() if word in title), None)
