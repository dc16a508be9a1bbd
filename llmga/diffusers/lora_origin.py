"""What low-rank weights were trained for: written into the head of our own, read from that of any trainer."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmga.diffusers.checkpoints import find_checkpoint
from llmga.diffusers.lora_files import LoraFile
from llmga.diffusers.pipeline import Pipeline
from llmga.errors import UserError
from llmga.files import fingerprint

log: logging.Logger = logging.getLogger(__name__)

# Begin of a version, as kohya's `ss_base_model_version` and Stability's `modelspec.architecture` state it -> family.
VERSIONS = (
    (r"sdxl|stable-diffusion-xl", "sdxl"),
    (r"sd_v2|stable-diffusion-v2", "sd2"),
    (r"sd_v1|stable-diffusion-v?1", "sd15"),
    (r"flux", "flux"),
    (r"sd3|stable-diffusion-3", "sd3"),
)
ARCHITECTURES = {"sd15": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base", "sd3": "stable-diffusion-3"}
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
SHORT = {"epsilon": "epsilon", "v_prediction": "v"}


@dataclass(frozen=True)
class Origin:
    """What a file says of its training; None where it says nothing.

    Attributes:
        family: `sd15`, `sd2`, `sdxl`, `sd3` or `flux`.
        prediction: what the UNet was taught to say, `epsilon` or `v_prediction`.
        layout: how prompts were laid out, a row of `LAYOUTS`.
        base: name of the checkpoint that it stood beside.
        base_sha256: fingerprint of that checkpoint's UNet.
    """

    family: str | None = None
    prediction: str | None = None
    layout: str | None = None
    base: str | None = None
    base_sha256: str | None = None

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> "Origin":
        """From the head of a safetensors file of ours, of kohya's or of any trainer that follows Stability's model
        specification."""
        version = metadata.get("ss_base_model_version") or metadata.get("modelspec.architecture") or ""
        if metadata.get("ss_v2") == "True" and not version:
            version = "sd_v2"
        prediction = metadata.get("modelspec.prediction_type") or ("v" if version.endswith("_v") else None)
        return cls(
            next((family for pattern, family in VERSIONS if re.match(pattern, version)), None),
            PREDICTIONS.get(prediction or ""),
            *(metadata.get(f"llmga.{name}") for name in ("layout", "base", "base_sha256")),
        )


def origin_metadata(
    *, family: str, prediction: str, layout: str, base: Path, rank: int, alpha: float, steps: int, part: str = "unet"
) -> dict[str, str]:
    """The text pairs that `Origin.read` and other tools find in the head of a file.

    Args:
        family: `sd15`, `sdxl` or `sd3`.
        base: the folder or the file of the pipeline that was trained.
        part: of it, that was.
    """
    from llmga import __version__

    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{ARCHITECTURES[family]}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": SHORT.get(prediction, prediction),
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_steps": str(steps),
        "llmga.version": __version__,
        "llmga.layout": layout,
        "llmga.base": base.resolve().name,
        "llmga.base_sha256": _base_mark(base, part) or "",
    }


def _base_mark(base: Path, part: str) -> str | None:
    """Fingerprint of a folder's part; of a single file's whole."""
    return fingerprint(base / part if base.is_dir() else base)


def check_origin(file: LoraFile, pipeline: Pipeline) -> None:
    """See that a file was trained for a pipeline like this; another base of the same family is noted in the log.

    Raises:
        UserError: when it was trained for another family, prediction or prompt layout.
    """
    origin = Origin.read(file.metadata)
    family = _family_of(pipeline)
    if origin.family is not None and family is not None and origin.family != family:
        raise UserError(f"{file.label} were made for another family than {pipeline.family.name}: their file says "
                        f"{origin.family}; choose others.")  # fmt: skip
    prediction = pipeline.own_scheduler.config.get("prediction_type")
    if None not in (origin.prediction, prediction) and origin.prediction != prediction:
        raise UserError(
            f"{file.label} were trained to predict {origin.prediction}, but {pipeline.path!r} predicts {prediction}; "
            "give them to a painter that predicts the same."
        )
    if origin.layout is not None and origin.layout != pipeline.layout:
        raise UserError(
            f"{file.label} were trained on prompts in the layout {origin.layout!r}, but {pipeline.path!r} lays them "
            f"out as {pipeline.layout!r}; give a painter whose generation_defaults.json states that layout, or train "
            f"them again with --layout {pipeline.layout}."
        )
    _tell_base(file, origin, pipeline)


def _family_of(pipeline: Pipeline) -> str | None:
    """As `Origin.family`; SD2's pipelines are those of SD1.5, with a UNet of other layers."""
    family = pipeline.family.architecture
    if family == "sd15" and pipeline.denoiser.config.get("use_linear_projection"):
        return "sd2"
    return family if family in ARCHITECTURES else None


def _tell_base(file: LoraFile, origin: Origin, pipeline: Pipeline) -> None:
    if not origin.base_sha256 or not pipeline.path:
        return
    base = find_checkpoint(pipeline.path)
    part = "unet" if (base / "unet").is_dir() else "transformer"
    if _base_mark(base, part) != origin.base_sha256:
        log.warning("%s were trained beside another base, %s; they may do less beside %s.",
                    file.label, origin.base, pipeline.path)  # fmt: skip
