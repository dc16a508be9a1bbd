"""A folder of transformers' LLaVA layout as one of the published layout: the way back from `saving`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, LlavaConfig

from llmga.errors import UserError
from llmga.llava import checkpoints, towers
from llmga.llava.backbones import BACKBONES, ConfigDict, published_type
from llmga.llava.hf_layout.saving import KEPT, LAST, REST, ROWS
from llmga.llava.published import make_config, published_config

TOWER, PROJECTOR = "model.vision_tower.vision_tower.vision_model.", "model.mm_projector."
PROJECTORS = {"gelu": "mlp2x_gelu", "linear": "linear"}  # by what stands between the two layers
NAMES = (  # with and without the prefix "model.": both ages of the library
    ("vision_tower.vision_model.", TOWER),
    ("vision_tower.", TOWER),
    ("multi_modal_projector.linear_1.", f"{PROJECTOR}0."),
    ("multi_modal_projector.linear_2.", LAST),
    ("language_model.lm_head.", "lm_head."),
    ("language_model.model.", "model."),
    ("language_model.", "model."),
)


def is_hf_layout(config: ConfigDict) -> bool:
    """Whether a config.json is of transformers' LLaVA; the 2023 checkpoints are called `llava`, too, but are flat."""
    return config.get("model_type") == "llava" and isinstance(config.get("text_config"), dict)


def hf_layout_config(folder: Path, config_dict: ConfigDict) -> tuple[Path, ConfigDict]:
    """Where tokenizer, generation_config.json and picture processor are, and the flat config.

    Raises:
        UserError: for a family without a row, another kind of tower or another activation.
    """
    if (folder / KEPT).is_dir():
        return folder / KEPT, checkpoints.read_json(folder / KEPT, "config.json")
    return folder, _flat(config_dict, folder)


def hf_layout_weights(folder: Path, config_dict: ConfigDict) -> dict[str, Tensor]:
    """Under published names, with what `save_hf_layout` kept beside them.

    Raises:
        UserError: for a file that is missing or cannot be read.
    """
    checkpoints.require_files(folder)
    weights = {published_name(key): tensor for key, tensor in checkpoints.read_weights(folder).items()}
    if (folder / KEPT).is_dir():
        rest = checkpoints.read_tensors(folder / KEPT / REST)
        return _whole(weights, rest, checkpoints.read_json(folder / KEPT, "config.json"), folder)
    return _unscaled(weights, config_dict)


def published_name(key: str) -> str:
    """The published name of a weight; an unknown one stays, and loading complains about it."""
    for ours, published in NAMES:
        if key.removeprefix("model.").startswith(ours):
            return published + key.removeprefix("model.").removeprefix(ours)
    return key


def _whole(
    weights: dict[str, Tensor], rest: dict[str, Tensor], published: ConfigDict, folder: Path
) -> dict[str, Tensor]:
    """Raises: UserError when the rows that were kept do not belong to those of the folder."""
    if not weights.keys() >= {key for key in rest if key in ROWS}:
        raise UserError(f"{str(folder / KEPT / REST)!r} does not belong to the weights beside it; convert it again.")
    rows = {
        key: torch.cat([weights[key][: published["vocab_size"] - len(rest[key])], rest[key]])
        for key in ROWS
        if key in rest
    }
    whole = weights | rest | rows
    kind = published.get("mm_projector_type", "linear")
    if kind == "mlp2x_gelu":
        return whole
    single = {key: tensor for key, tensor in whole.items() if not key.startswith(LAST)}  # the identity
    return {key.replace(f"{PROJECTOR}0.", PROJECTOR) if kind == "linear" else key: single[key] for key in single}


def _flat(config: ConfigDict, folder: Path) -> ConfigDict:
    between = config.get("projector_hidden_act", "gelu")
    if between not in PROJECTORS:
        raise UserError(f"projector_hidden_act {between!r} of {str(folder)!r} is not supported; gelu and linear are.")
    published_type(config["text_config"].get("model_type", ""))
    tower = towers.read_tower_config(folder)  # complains where the library would fail
    hub = LlavaConfig.from_dict(config)
    text: Any = hub.text_config  # a config by now
    own = make_config(
        text,
        tower,
        projector_type=PROJECTORS[between],
        select_layer=hub.vision_feature_layer,
        keeps_class=hub.vision_feature_select_strategy == "full",
    )
    own.tie_word_embeddings = hub.tie_word_embeddings
    dtype = {"dtype": hub.dtype or torch.float16, "context_length": text.max_position_embeddings}
    turns = config.get("taught_turns")
    flat = published_config(own, conv_mode=config.get("conversation_mode"), taught_turns=turns, **dtype)
    return flat | {"mm_vision_tower": "."}  # the folder itself says how its tower is built


def _unscaled(weights: dict[str, Tensor], config: ConfigDict) -> dict[str, Tensor]:
    """Without the picture scale, which the family's row puts behind the projector; two layers without anything between
    are one."""
    text = AutoConfig.for_model(**config["text_config"])
    scale = BACKBONES[published_type(text.model_type)].picture_scale(text)
    last = {key: tensor.double() / scale for key, tensor in weights.items() if key.startswith(LAST)}
    if config.get("projector_hidden_act") != "linear":
        return weights | {key: tensor.to(weights[key].dtype) for key, tensor in last.items()}
    first, shift = (weights[f"{PROJECTOR}0.{part}"] for part in ("weight", "bias"))
    turn, lift = (last[f"{LAST}{part}"] for part in ("weight", "bias"))
    single = {"weight": turn @ first.double(), "bias": turn @ shift.double() + lift}
    kept = {key: tensor for key, tensor in weights.items() if not key.startswith(PROJECTOR)}
    return kept | {f"{PROJECTOR}{part}": tensor.to(first.dtype) for part, tensor in single.items()}
