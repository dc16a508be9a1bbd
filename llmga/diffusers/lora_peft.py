"""Adapters that peft alone knows how to apply: it merges them into copies of the layers, and the difference is ours."""

import copy
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from llmga.diffusers.lora_files import LoraFile, such_as
from llmga.diffusers.lora_methods import Difference
from llmga.diffusers.lora_names import PEFT_CLASSES, PEFT_PREFIX, Targets, flat
from llmga.errors import UserError, reason

REPEATED = r"(pissa|olora)$"  # beginnings that take something from the base, the same every time


def needs_peft(file: LoraFile) -> bool:
    """Whether the settings beside a file are of another method than LoRA, or of a beginning that changed the base."""
    settings = file.configs.get("", {})
    begun = str(settings.get("init_lora_weights")).lower()
    return settings.get("peft_type", "LORA") != "LORA" or re.match(REPEATED, begun) is not None


def changes_by_peft(file: LoraFile, targets: Targets, family: str) -> dict[str, dict[tuple[str, str], Difference]]:
    """What is added to each parameter of the part that was trained.

    Raises:
        UserError: when peft does not know the method, or the file is of another family.
    """
    kind = str(file.configs[""].get("peft_type", "LORA"))[:50]
    part, names = _layers(file, targets)
    if not names:
        first = [name.removeprefix(PEFT_PREFIX) for name in file.tensors]
        raise UserError(f"{file.label} were made for another family than {family}: none of their modules fits, "
                        f"{such_as(first)}; choose others.")  # fmt: skip
    try:
        merged = _merged(file, names)
    except Exception as problem:  # every method has its own kind
        raise UserError(f"{file.label} are {kind}, which peft cannot apply to {family}: {reason(problem)[:200]}; "
                        "choose others.") from None  # fmt: skip
    changes: dict[tuple[str, str], Difference] = {}
    for theirs, (own, layer) in names.items():
        for parameter, value in merged.get_submodule(theirs).named_parameters(recurse=False):
            change = value.detach() - getattr(layer, parameter).detach().float().cpu()
            if change.any():
                changes[own, parameter] = partial(_known, change)
    return {part: changes}


def _known(change: Tensor, own: Tensor) -> Tensor:
    return change.to(own)


def _layers(file: LoraFile, targets: Targets) -> tuple[str, dict[str, tuple[str, nn.Module]]]:
    """The part, and its layers that the tensors are of: their name -> (own name, layer)."""
    parts = list(targets)
    if named := PEFT_CLASSES.get(file.configs[""].get("base_model_class", "")):
        parts = [named]
    found = {part: {theirs: layer for name in file.tensors for theirs, layer in _places(name, targets.get(part, {}))}
             for part in parts}  # fmt: skip
    best = max(found, key=lambda part: len(found[part]), default="")
    return best, found.get(best, {})


def _places(name: str, layers: Mapping[str, tuple[str, nn.Module]]) -> Iterator[tuple[str, tuple[str, nn.Module]]]:
    """The longest beginning of a tensor's name that is a layer's."""
    words = name.removeprefix(PEFT_PREFIX).split(".")
    for count in range(len(words) - 1, 0, -1):
        theirs = ".".join(words[:count])
        if (layer := layers.get(flat(theirs))) is not None:
            yield theirs, layer
            return


def _merged(file: LoraFile, names: Mapping[str, tuple[str, nn.Module]]) -> nn.Module:
    """Copies of the layers in float32, under their names, with the adapter merged into them.

    Raises:
        ValueError: some of the tensors found no place.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    config: Any = PeftConfig.from_pretrained(str(file.path.parent), trust_remote_code=False)
    config.task_type, config.inference_mode = None, True
    model: Any = get_peft_model(_skeleton(names), config)
    found: Any = set_peft_model_state_dict(model, dict(file.tensors))
    if found.unexpected_keys:
        raise ValueError(f"{len(found.unexpected_keys)} tensors have no place, {such_as(found.unexpected_keys)}")
    whole: nn.Module = model.merge_and_unload()
    return whole


def _skeleton(names: Mapping[str, tuple[str, nn.Module]]) -> nn.Module:
    root = nn.Module()
    for theirs, (_, layer) in names.items():
        *folders, last = theirs.split(".")
        place = root
        for folder in folders:
            if not hasattr(place, folder):
                place.add_module(folder, nn.Module())
            place = place.get_submodule(folder)
        place.add_module(last, _copied(layer))
    return root


@torch.no_grad()
def _copied(layer: nn.Module) -> nn.Module:
    return copy.deepcopy(layer).float().cpu()
