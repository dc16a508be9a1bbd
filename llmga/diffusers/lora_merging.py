"""Differences added to a pipeline's own weights, and taken out again to the last bit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.lora_files import LoraFile
from llmga.diffusers.lora_layers import LoraChanges, Parameter
from llmga.diffusers.lora_methods import Difference
from llmga.diffusers.lora_names import PARTS
from llmga.errors import UserError

KEPT_AT = "_llmga_merged"  # attribute of a part: pipelines that share the part share what was merged into it


@dataclass
class Merged:
    """What was added to a part's weights.

    Attributes:
        own: the parameters as the checkpoint has them, on the CPU.
        added: all differences of each, in their order, with their shares.
    """

    own: dict[Parameter, Tensor] = field(default_factory=dict)
    added: dict[Parameter, list[tuple[Difference, float]]] = field(default_factory=dict)


def check_mergeable(pipe: Any, given: Iterable[tuple[LoraFile, LoraChanges]]) -> None:
    """See that the weights can take a difference.

    Raises:
        UserError: they are quantised, or kept in 8 bits.
    """
    for file, changes in given:
        for name, changed in changes.merged.items():
            for path, parameter in changed:
                kind = _parameter(getattr(pipe, name), (path, parameter)).dtype
                if not kind.is_floating_point or kind.itemsize < 2:
                    raise UserError(f"{file.label} change weights themselves, which {str(kind).removeprefix('torch.')} "
                                    "of a quantised painter cannot hold; load the painter unquantised, or give plain "
                                    "LoRA.")  # fmt: skip


@torch.no_grad()
def merge(pipe: Any, changes: Mapping[str, Mapping[Parameter, Difference]], share: float) -> None:
    """Add differences, times `share`, to the weights of a pipeline that no hook holds.

    Every difference is found from the weight as the checkpoint has it, so that the order of files does not matter.
    """
    for name, changed in changes.items():
        part = getattr(pipe, name)
        merged: Merged = part.__dict__.setdefault(KEPT_AT, Merged())
        for place, difference in changed.items():
            parameter = _parameter(part, place)
            if place not in merged.own:
                merged.own[place] = parameter.detach().to("cpu", copy=True)
            merged.added.setdefault(place, []).append((difference, share))
            own = merged.own[place].to(parameter.device, torch.float32)
            parameter.copy_(own + sum(weight * added(own) for added, weight in merged.added[place]))


@torch.no_grad()
def unmerge(pipe: Any) -> None:
    """Give the weights back as the checkpoint has them."""
    for name in PARTS:
        part = getattr(pipe, name, None)
        merged: Merged | None = None if part is None else part.__dict__.pop(KEPT_AT, None)
        for place, own in ({} if merged is None else merged.own).items():
            _parameter(part, place).copy_(own)


def _parameter(part: Any, place: Parameter) -> Tensor:
    path, name = place
    layer = part.get_submodule(path)
    parameter: Tensor = getattr(getattr(layer, "base_layer", layer), name)
    return parameter
