"""What a run leaves: a whole pipeline of the task's own class, or low-rank weights."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from llmga.diffusers.assembly import Assembly
from llmga.diffusers.checkpoints import DEFAULTS_FILE
from llmga.diffusers.families import Family
from llmga.diffusers.lora_origin import origin_metadata
from llmga.diffusers.pipelines import read_defaults
from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.lora import save_lora
from llmga.diffusers.train.objective import DenoisingObjective
from llmga.diffusers.train.tasks import widened
from llmga.runtime import DTYPES
from llmga.training.checkpoints import UNFINISHED, discard_unfinished, publish_model


def save_result(
    config: Stage2Config,
    base: Assembly,
    family: Family,
    objective: DenoisingObjective,
    unet: Any,
    weights: dict[str, Tensor],
) -> Path:
    """Write `config.output` as a whole or not at all; files of others in the folder are left alone.

    Args:
        base: what the run started from.
        unet: the UNet in its final shape.
        weights: what was learnt, by parameter name.
    """
    output = Path(config.output)
    discard_unfinished(output)
    unfinished = output / UNFINISHED
    unfinished.mkdir(parents=True)
    if config.tune == "lora":
        save_lora(unet, weights, unfinished, _origin(config, base.path, family, objective))
    else:
        _save_pipeline(config, base, family, objective, unet, weights, unfinished)
    publish_model(unfinished, output)
    return output


def _origin(config: Stage2Config, base: Path, family: Family, objective: DenoisingObjective) -> dict[str, str]:
    alpha = config.lora_rank if config.lora_alpha is None else config.lora_alpha
    return origin_metadata(
        family=family.architecture, prediction=objective.prediction, layout=config.layout, base=base,
        rank=config.lora_rank, alpha=alpha, steps=config.steps,
    )  # fmt: skip


def _save_pipeline(
    config: Stage2Config,
    base: Assembly,
    family: Family,
    objective: DenoisingObjective,
    unet: Any,
    weights: dict[str, Tensor],
    folder: Path,
) -> None:
    """The pipeline opened afresh, because the frozen parts of the run may have been rounded to half precision."""
    whole = base.open(family.load_pipeline_class(), DTYPES[config.save_dtype])
    whole.unet = widened(whole.unet, unet.config.in_channels)
    whole.unet.load_state_dict(weights)
    whole.scheduler.register_to_config(prediction_type=objective.prediction)
    whole.save_pretrained(folder, safe_serialization=True)
    defaults = read_defaults(base.configs)
    if config.layout != defaults.get("layout", "joined"):
        defaults["layout"] = config.layout  # sampling has to lay prompts out as training did
    if defaults:
        (folder / DEFAULTS_FILE).write_text(json.dumps(defaults) + "\n")
