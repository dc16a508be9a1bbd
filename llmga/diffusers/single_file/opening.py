"""A part's model, filled with tensors that stay on disk until they are used."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.single_file.conversion import Part
from llmga.errors import UserError


def build(part: Part) -> Any:
    """The model without weights."""
    from accelerate import init_empty_weights

    kind = getattr(importlib.import_module(part.library), part.kind)
    with init_empty_weights():
        if part.library == "diffusers":
            return kind.from_config(dict(part.config))
        return kind(kind.config_class(**part.config))


def fill(model: Any, weights: Mapping[str, Tensor], dtype: torch.dtype, where: str) -> Any:
    """Put tensors into an empty model.

    Args:
        weights: by the names that hubs have.
        dtype: of the floating-point ones.
        where: the file, for messages.

    Raises:
        UserError: some lack, do not fit, or have no place.
    """
    named = own_names(model, weights)
    try:
        found = model.load_state_dict({name: _cast(each, dtype) for name, each in named.items()}, False, assign=True)
    except RuntimeError as problem:  # it lists shapes that differ, a line each
        first = next((line.strip() for line in str(problem).splitlines() if "size mismatch" in line), str(problem))
        raise UserError(f"{where} does not fit its own layout ({first[:200].rstrip('.')}); give its diffusers "
                        "folder.") from None  # fmt: skip
    for names, what in ((found.missing_keys, "lacks"), (found.unexpected_keys, "has no place for")):
        if names:
            raise UserError(f"{where}: {type(model).__name__} {what} {len(names)} tensors, such as {sorted(names)[0]}; "
                            "give another file, or its diffusers folder.")  # fmt: skip
    return model.eval()


def own_names(model: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of this version of transformers, whose text towers have lost a level."""
    if hasattr(model, "text_model") or not hasattr(model, "embeddings"):
        return dict(weights)
    return {name.removeprefix("text_model."): each for name, each in weights.items()}


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
