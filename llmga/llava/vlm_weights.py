"""The weights of a vision-language model's folder into transformers' own class."""

from copy import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from llmga.llava.foreign_folders import BROKEN, not_opened
from llmga.llava.placement import Placement
from llmga.llava.weights import check_loaded
from llmga.quiet import quiet


@quiet()
def read_vlm(folder: Path, where: Placement) -> PreTrainedModel:
    """The model; no code of the folder is run.

    Raises:
        UserError: for weights that are missing, damaged, of another model, or quantised for what is not installed.
    """
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **_options(folder, where),
        )
    except BROKEN as problem:
        raise not_opened(folder, "cannot be opened", problem) from None
    model, found = loaded
    check_loaded(found, folder, ("missing_keys", "mismatched_keys"))
    return model


def _options(folder: Path, where: Placement) -> dict[str, Any]:
    """Keywords of `from_pretrained`; what a folder says of its own quantisation stands, if nothing is asked."""
    options = {name: value for name, value in where.options().items() if value is not None}
    if where.quantised is None:
        return options
    quantised = copy(where.quantised)
    quantised.llm_int8_skip_modules = _seeing_parts(folder)
    return options | {"quantization_config": quantised}


def _seeing_parts(folder: Path) -> list[str]:
    """What keeps its number format in a quantised model: all but the layers of its text model."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
    parts = model.base_model.named_children()
    return [
        "lm_head",
        *(f"{model.base_model_prefix}.{name}" for name, part in parts if part is not model.get_decoder()),
    ]
