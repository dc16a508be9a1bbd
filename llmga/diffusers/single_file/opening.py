"""A part's model, filled with tensors that stay on disk until they are used."""

import importlib
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.single_file.conversion import Part
from llmga.errors import UserError


def open_model(part: Part, weights: Mapping[str, Tensor], dtype: torch.dtype, where: str) -> Any:
    """The model of a part, on the CPU.

    Args:
        weights: by the names that hubs have.
        dtype: of the floating-point ones.
        where: the file, for messages.

    Raises:
        UserError: some lack, do not fit, or have no place.
    """
    kind = getattr(importlib.import_module(part.library), part.kind)
    read = _of_diffusers if part.library == "diffusers" else _of_transformers
    try:
        model, missing, unexpected = read(kind, part.config, weights, dtype)
    except RuntimeError as problem:  # it lists shapes that differ, a line each
        raise UserError(f"{where} does not fit its settings ({_mismatch(str(problem))}); give its diffusers "
                        "folder, which has its own.") from None  # fmt: skip
    for names, what in ((missing, "lacks"), (unexpected, "has no place for")):
        if names:
            raise UserError(f"{where}: {part.kind} {what} {len(names)} tensors, such as {min(names)}; give another "
                            "file, or its diffusers folder.")  # fmt: skip
    return model.eval()


def _mismatch(text: str) -> str:
    """The first of the shapes that differ, of torch's list of them."""
    shape = r"torch\.Size\(\[(.*?)\]\)"
    found = re.search(rf"size mismatch for (\S+): .*? shape {shape} .*? model is {shape}", text, re.DOTALL)
    if found is None:
        return text.strip().splitlines()[0][:200].rstrip(".")
    name, held, wanted = found.groups()
    return f"{name} is ({held}) in the file and would be ({wanted})"


Read = tuple[Any, Collection[str], Collection[str]]


def _of_diffusers(kind: Any, config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype) -> Read:
    from accelerate import init_empty_weights

    with init_empty_weights():
        model = kind.from_config(dict(config))
    cast = {name: each.to(dtype) if each.is_floating_point() else each for name, each in weights.items()}
    found = model.load_state_dict(cast, strict=False, assign=True)
    return model, found.missing_keys, found.unexpected_keys


def _of_transformers(kind: Any, config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype) -> Read:
    """By its own reader, which knows how versions name a tower's levels, and saves them as they came."""
    own = kind.config_class(**config)
    model, found = kind.from_pretrained(
        None, config=own, state_dict=dict(weights), dtype=dtype, output_loading_info=True, local_files_only=True,
        trust_remote_code=False,
    )  # fmt: skip
    return model, found["missing_keys"], found["unexpected_keys"]
