"""What a run leaves: a whole pipeline of the task's own class, or low-rank weights."""

import json
from collections.abc import Mapping
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
from llmga.diffusers.train.networks import NETWORKS
from llmga.diffusers.train.objective import Objective
from llmga.diffusers.train.tasks import widened
from llmga.runtime import DTYPES
from llmga.training.checkpoints import UNFINISHED, discard_unfinished, publish_model


def save_result(
    config: Stage2Config,
    base: Assembly,
    family: Family,
    objective: Objective,
    networks: Mapping[str, Any],
    weights: Mapping[str, Mapping[str, Tensor]],
) -> Path:
    """Write `config.output` as a whole or not at all; files of others in the folder are left alone.

    Args:
        base: what the run started from.
        networks: what learnt in its final shape, by the names of the pipeline's parts.
        weights: what was learnt of each, by parameter name.
    """
    output = Path(config.output)
    discard_unfinished(output)
    unfinished = output / UNFINISHED
    unfinished.mkdir(parents=True)
    if config.tune == "lora":
        save_lora(networks, weights, unfinished, _origin(config, base.path, objective))
    else:
        _save_pipeline(config, base, family, objective, networks, weights, unfinished)
    publish_model(unfinished, output)
    return output


def _origin(config: Stage2Config, base: Path, objective: Objective) -> dict[str, str]:
    alpha = config.lora_rank if config.lora_alpha is None else config.lora_alpha
    return origin_metadata(
        family=config.family, prediction=objective.prediction, layout=config.layout, base=base,
        rank=config.lora_rank, alpha=alpha, steps=config.steps, part=NETWORKS[config.family].part,
    )  # fmt: skip


def _save_pipeline(
    config: Stage2Config,
    base: Assembly,
    family: Family,
    objective: Objective,
    networks: Mapping[str, Any],
    weights: Mapping[str, Mapping[str, Tensor]],
    folder: Path,
) -> None:
    """The pipeline opened afresh, because the frozen parts of the run may have been rounded to half precision."""
    whole = base.open(family.load_pipeline_class(), DTYPES[config.save_dtype])
    for name, network in networks.items():
        part = getattr(whole, name)
        if name == "unet":
            part = whole.unet = widened(part, network.config.in_channels)
        part.load_state_dict(part.state_dict() | weights[name])  # buffers stay as they are
    objective.tell(whole.scheduler)
    whole.save_pretrained(folder, safe_serialization=True)
    defaults = read_defaults(base.configs)
    if config.layout != defaults.get("layout", "joined"):
        defaults["layout"] = config.layout  # sampling has to lay prompts out as training did
    if defaults:
        (folder / DEFAULTS_FILE).write_text(json.dumps(defaults) + "\n")
