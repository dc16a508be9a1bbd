"""Adapters of any trainer as changes of a pipeline's layers: all of a file is applied, or it is refused.

Plain low-rank weights are kept as their two matrices, which stand beside the layer.  Every other method changes the
weight itself, by a difference that is found from it.
"""

import logging
import math
import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.embeddings import BUNDLED
from llmga.diffusers.file_kinds import recognise
from llmga.diffusers.lora_files import PEFT_CONFIG, LoraFile, such_as
from llmga.diffusers.lora_methods import LORA, MAGNITUDES, Difference, Method, Tensors, decomposed, methods_of
from llmga.diffusers.lora_names import MERGE, PEFT_PREFIX, flat, modules_of, targets_of
from llmga.diffusers.lora_peft import changes_by_peft, needs_peft
from llmga.errors import UserError

log: logging.Logger = logging.getLogger(__name__)

# What is not applied, known by its tensors, and the way out.
NEEDS_CONFIG = f"which is read with peft's {PEFT_CONFIG} beside it alone; put that file there"
REFUSED = {
    "VeRA": (r"\.?vera_", NEEDS_CONFIG),
    "AdaLoRA": (r"\.lora_E$", NEEDS_CONFIG),
    "OFT of peft": (r"\.oft_R\b", NEEDS_CONFIG),
    "BOFT of peft": (r"\.boft_", NEEDS_CONFIG),
    "IA3 of peft": (r"\.ia3_l\b", NEEDS_CONFIG),
    "OFT of LyCORIS before version 2": (r"\.oft_diag$", f"which no library reads any more; {MERGE}"),
    "T-LoRA": (r"\.lambda_layer$", f"which changes from step to step and is not painted here; {MERGE}"),
}  # fmt: skip
CHANGED_BASES = ("pissa_niter", "corda", "loftq", "lora_ga")  # beginnings that changed the base, and are not repeatable


@dataclass(frozen=True)
class LoraLayer:
    """How one layer's weight (out, in, *kernel) changes: by `up @ down`, beside it.

    Attributes:
        down: (rank, in, *kernel), float32 like the other, the trainer's alpha applied: the factors of `up` are small
            enough to lose digits in half precision.
        up: (out, rank, *ones).
    """

    down: Tensor
    up: Tensor


Parameter = tuple[str, str]  # a layer's own name in its part, and "weight" or "bias"


@dataclass(frozen=True)
class LoraChanges:
    """What a file changes, by the pipeline's part.

    Attributes:
        beside: plain low-rank weights, by their layer's own name.
        merged: what is added to a parameter, found from the parameter as its checkpoint has it.
    """

    beside: dict[str, dict[str, LoraLayer]] = field(default_factory=dict)
    merged: dict[str, dict[Parameter, Difference]] = field(default_factory=dict)


def layers_of(file: LoraFile, pipe: Any, family: str) -> LoraChanges:
    """What a file changes in a pipeline; the words that it teaches are `embeddings.bundled_words`.

    Raises:
        UserError: when the file was made for another family than `family`, or holds anything that would not be applied
            exactly.
    """
    file = replace(file, tensors={name: each for name, each in file.tensors.items() if not BUNDLED.fullmatch(name)})
    targets = targets_of(pipe)
    if needs_peft(file):
        return LoraChanges(merged=changes_by_peft(file, targets, family))
    _refuse_methods(file)
    _tell_unknown_scale(file)
    modules = modules_of(file, pipe, targets)
    found = LoraChanges()
    strangers = []
    for (part, module), tensors in modules.items():
        name, layer = targets.get(part, {}).get(flat(module), (module, None))
        if layer is None or not _take(found, file, (part, module, name), tensors, layer):
            strangers.append(f"{part}.{module}".strip("."))
    if strangers:
        raise UserError(f"{file.label} were made for another family than {family}: {len(strangers)} of their "
                        f"{len(modules)} modules do not fit, {such_as(strangers)}{_told(file, family)}; choose "
                        "others.")  # fmt: skip
    return found


def _told(file: LoraFile, family: str) -> str:
    """Which family that is, where names and shapes tell it."""
    kind = recognise({name: tuple(tensor.shape) for name, tensor in file.tensors.items()}, file.metadata)
    return f", and are {kind.said} of {kind.family}" if kind.family and not family.startswith(kind.family) else ""


def _take(
    found: LoraChanges, file: LoraFile, place: tuple[str, str, str], tensors: Tensors, layer: torch.nn.Module
) -> bool:
    """Note what a module's tensors do to its layer; False where they do not fit it.

    Args:
        place: the part, the module as the file calls it, and the layer's own name.

    Raises:
        UserError: for values that are no numbers.
    """
    part, module, name = place
    if not all(map(_numbers, tensors.values())) or tensors.get("alpha", torch.ones(1)).numel() != 1:
        raise UserError(f"{file.label} hold values that are no numbers, {such_as([module])}; fetch them again.")
    for method in methods_of(tensors):
        own = getattr(layer, method.of, None)
        if own is None:
            raise UserError(f"{file.label} hold biases for layers that have none here, {such_as([module])}, which is "
                            f"not painted; {MERGE}.")  # fmt: skip
        if not _fits(method, tensors, own):
            return False
        scale = method.scale(tensors)
        scale = _scale(file, part, module, method.rank_of(tensors)) if scale is None else scale
        if method is LORA and not set(MAGNITUDES) & set(tensors):
            found.beside.setdefault(part, {})[name] = _layer(tensors, own, scale)
        else:
            found.merged.setdefault(part, {})[name, method.of] = partial(_difference, method, tensors, scale)
    return True


def _difference(method: Method, tensors: Tensors, scale: float, own: Tensor) -> Tensor:
    """What is added to a layer's own parameter (float32), on its device."""
    moved = {name: tensor.to(own) if name != "on_input" else tensor for name, tensor in tensors.items()}
    change = method.difference(moved, own, scale)
    magnitude = next((_magnitude(moved[name], name) for name in MAGNITUDES if name in moved), None)
    return change if magnitude is None or method.of != "weight" else decomposed(own + change, magnitude) - own


def _magnitude(vector: Tensor, name: str) -> Tensor:
    """One for each output is (out,) here; peft keeps it so or, beside convolutions, as (1, out, 1, 1), kohya's spelling
    as (out, 1).  One for each input is (1, in)."""
    return vector.flatten() if name == "lora_magnitude_vector" or vector.numel() == len(vector) else vector


def _fits(method: Method, tensors: Tensors, own: Tensor) -> bool:
    """Whether the tensors make a difference of the parameter's shape; nothing is computed."""
    if method is LORA and not _fits_low_rank(tensors, own):
        return False
    try:
        change = _difference(method, tensors, 1.0, torch.empty(own.shape, device="meta"))
    except (RuntimeError, ValueError, IndexError):
        return False
    return change.shape == own.shape


def _fits_low_rank(tensors: Tensors, weight: Tensor) -> bool:
    down, up, mid = tensors["lora_down"], tensors["lora_up"], tensors.get("lora_mid")
    if min(down.ndim, up.ndim, weight.ndim) < 2 or len(down) == 0:
        return False
    if up.shape[0] != weight.shape[0] or down.shape[1] != weight.shape[1]:
        return False
    if mid is not None:
        inner = (up[0].numel(), down[:, 0].numel(), *weight.shape[2:])
        return tuple(mid.shape) == inner and weight.ndim == 4 and down[0].numel() == down.shape[1]
    return up[0].numel() == len(down) and down[0].numel() == weight[0].numel()


def _layer(tensors: Tensors, weight: Tensor, scale: float) -> LoraLayer:
    down, up = tensors["lora_down"].float() * scale, tensors["lora_up"].float()
    if "lora_mid" in tensors:
        down = torch.einsum("mn...,ni->mi...", tensors["lora_mid"].float(), down.flatten(1))
    down = down.reshape(-1, *weight.shape[1:])
    return LoraLayer(down, up.reshape(*up.shape[:2], *(1 for _ in weight.shape[2:])))


def _numbers(tensor: Tensor) -> bool:
    return not tensor.is_complex() and bool(torch.isfinite(tensor.float()).all())


def _refuse_methods(file: LoraFile) -> None:
    modules = {name: _module_of(name) for name in file.tensors}
    for method, (pattern, remedy) in REFUSED.items():
        if found := {module for name, module in modules.items() if re.search(pattern, name)}:
            raise UserError(f"{file.label} hold {method} in {len(found)} of {len(set(modules.values()))} modules, "
                            f"{remedy}.")  # fmt: skip
    for config in file.configs.values():
        begun = str(config.get("init_lora_weights"))[:50]
        if begun.lower().startswith(CHANGED_BASES):
            raise UserError(f"{file.label} were begun with {begun!r}, which changed their base as well; {MERGE}.")


def _tell_unknown_scale(file: LoraFile) -> None:
    """peft states what it multiplies with in a file of its own, which is left behind easily."""
    peft = any(name.startswith(PEFT_PREFIX) for name in file.tensors)
    if peft and not file.configs and not any(name.endswith(".alpha") for name in file.tensors):
        log.warning("%s come without peft's %s, which states their alpha: it is taken to be their rank; put that file "
                    "beside them, or give a weight.", file.label, PEFT_CONFIG)  # fmt: skip


def _module_of(name: str) -> str:
    start = name.split(".")[0]
    return start if start.startswith(("lora_", "lycoris_")) else re.sub(r"\.\w+(\.weight|\.bias)?$", "", name)


def _scale(file: LoraFile, part: str, module: str, rank: int) -> float:
    """What peft multiplies a product with; 1 without its settings."""
    from peft.utils.other import get_pattern_key

    config = file.configs.get(part) or file.configs.get("") or {}
    patterns: Any = config.get("alpha_pattern") or {}
    alpha: float = patterns.get(get_pattern_key(patterns, module), config.get("lora_alpha", rank))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
