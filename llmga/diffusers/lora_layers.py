"""Low-rank weights of any trainer as changes of a pipeline's layers: all of a file is applied, or it is refused."""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.lora_files import PEFT_CONFIG, LoraFile, such_as
from llmga.diffusers.lora_names import MERGE, PEFT_PREFIX, flat, modules_of, targets_of
from llmga.errors import UserError

log: logging.Logger = logging.getLogger(__name__)

# Methods that change weights otherwise than by one product of two matrices, known by their tensors.
METHODS = {
    "LoHa": r"\.hada_(w[12]_[ab]|t[12])$",
    "LoKr": r"\.lokr_(w[12](_[ab])?|t[12])$",
    "BOFT": r"\.boft_",
    "OFT": r"\.oft_",
    "IA3": r"\.(on_input|ia3_l)\b",
    "GLoRA": r"\.([ab][12]|bm[12])\.weight$",
    "VeRA": r"\.?vera_",
    "AdaLoRA": r"\.lora_E$",
    "full differences": r"\.(diff|diff_b|w_norm|b_norm)$",
    "embeddings of new words": r"^bundle_emb\.",
    "low-rank embeddings": r"\.lora_embedding_[AB]$",
    "differences of biases": r"\.lora_B(\.default)?\.bias$",
}
CHANGED_BASES = ("pissa", "olora", "corda", "loftq")  # initialisations that also change what they stand beside


@dataclass(frozen=True)
class LoraLayer:
    """How one layer's weight (out, in, *kernel) changes: by `up @ down`.

    Attributes:
        down: (rank, in, *kernel), float32 like the others, the trainer's alpha applied: the factors of `up` are small
            enough to lose digits in half precision.
        up: (out, rank, *ones).
        magnitude: (out,), the lengths of the changed rows (DoRA, Liu et al. 2024, arXiv:2402.09353), or None.
    """

    down: Tensor
    up: Tensor
    magnitude: Tensor | None = None


LoraLayers = dict[str, dict[str, LoraLayer]]  # by the pipeline's part and the layer's own name in it


def layers_of(file: LoraFile, pipe: Any, family: str) -> LoraLayers:
    """What a file changes in a pipeline.

    Raises:
        UserError: when the file was made for another family than `family`, or holds anything that would not be applied
            exactly.
    """
    _refuse_methods(file)
    _tell_unknown_scale(file)
    targets = targets_of(pipe)
    modules = modules_of(file, pipe, targets)
    layers: LoraLayers = {}
    strangers = []
    for (part, module), tensors in modules.items():
        name, weight = targets.get(part, {}).get(flat(module), (module, None))
        if weight is None or not _fits(tensors, weight):
            strangers.append(f"{part}.{module}".strip("."))
        else:
            layers.setdefault(part, {})[name] = _layer(file, part, module, tensors, weight)
    if strangers:
        raise UserError(f"{file.label} were made for another family than {family}: {len(strangers)} of their "
                        f"{len(modules)} modules do not fit, {such_as(strangers)}; choose others.")  # fmt: skip
    return layers


def _refuse_methods(file: LoraFile) -> None:
    modules = {name: _module_of(name) for name in file.tensors}
    for method, pattern in METHODS.items():
        if found := {module for name, module in modules.items() if re.search(pattern, name)}:
            raise UserError(f"{file.label} hold {method} in {len(found)} of {len(set(modules.values()))} modules, "
                            f"which is not painted here; {MERGE}.")  # fmt: skip
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


def _fits(tensors: Mapping[str, Tensor], weight: Tensor) -> bool:
    down, up, mid = tensors["lora_down"], tensors["lora_up"], tensors.get("lora_mid")
    if min(down.ndim, up.ndim) < 2 or len(down) == 0:
        return False
    if up.shape[0] != weight.shape[0] or down.shape[1] != weight.shape[1]:
        return False
    if mid is not None:
        inner = (up[0].numel(), down[:, 0].numel(), *weight.shape[2:])
        return tuple(mid.shape) == inner and weight.ndim == 4 and down[0].numel() == down.shape[1]
    return up[0].numel() == len(down) and down[0].numel() == weight[0].numel()


def _layer(file: LoraFile, part: str, module: str, tensors: Mapping[str, Tensor], weight: Tensor) -> LoraLayer:
    """Raises: UserError for values that are no numbers, and for DoRA over inputs."""
    if not all(map(_numbers, tensors.values())) or tensors.get("alpha", torch.ones(1)).numel() != 1:
        raise UserError(f"{file.label} hold values that are no numbers, {such_as([module])}; fetch them again.")
    rank = len(tensors["lora_down"])
    scale = float(tensors["alpha"]) / rank if "alpha" in tensors else _scale(file, part, module, rank)
    down, up = tensors["lora_down"].float() * scale, tensors["lora_up"].float()
    if "lora_mid" in tensors:
        down = torch.einsum("mn...,ni->mi...", tensors["lora_mid"].float(), down.flatten(1))
    down = down.reshape(-1, *weight.shape[1:])
    return LoraLayer(down, up.reshape(*up.shape[:2], *(1 for _ in weight.shape[2:])), _magnitude(file, tensors, weight))


def _numbers(tensor: Tensor) -> bool:
    return not tensor.is_complex() and bool(torch.isfinite(tensor.float()).all())


def _scale(file: LoraFile, part: str, module: str, rank: int) -> float:
    """What peft multiplies a product with; 1 without its settings."""
    from peft.utils.other import get_pattern_key

    config = file.configs.get(part) or file.configs.get("") or {}
    patterns: Any = config.get("alpha_pattern") or {}
    alpha: float = patterns.get(get_pattern_key(patterns, module), config.get("lora_alpha", rank))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _magnitude(file: LoraFile, tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor | None:
    """(out,).  kohya's spelling keeps it as (out, 1), peft's as (out,) or, beside convolutions, (1, out, 1, 1)."""
    if (vector := tensors.get("lora_magnitude_vector")) is not None and vector.numel() == len(weight):
        return vector.flatten().float()
    if (vector := tensors.get("dora_scale", vector)) is None:
        return None
    if vector.numel() != len(weight) or vector.shape[:1] != weight.shape[:1]:
        raise UserError(f"{file.label} hold DoRA with a magnitude for each input instead of each output, which is not "
                        f"painted here (in OneTrainer, 'apply on output axis' trains the other); {MERGE}.")  # fmt: skip
    return vector.flatten().float()


@torch.no_grad()
def weighed(layer: LoraLayer, weight: Tensor, share: float, *, decomposed: bool) -> LoraLayer:
    """The same change by a share of it: `share * (changed - weight)` is added to the weight.

    Args:
        weight: the layer's own, (out, in, *kernel).
        decomposed: give the layer a magnitude, whether it has one or not; peft wants it for all or none.

    peft's own scale would move DoRA's rows with their lengths kept, so that nothing of it were left at no scale but the
    direction.  A row that was `m * (W + c) / n` becomes `kept * W + share * m / n * c`, which is DoRA again.
    """
    if not decomposed:
        return replace(layer, up=layer.up * share)
    own, rest = weight.detach().float().cpu(), (-1, *(1 for _ in weight.shape[1:]))
    length = _lengths(own, layer)
    ratio = (length if layer.magnitude is None else layer.magnitude) / length
    kept = 1 + share * (ratio - 1)
    moved = replace(layer, up=layer.up * (share * ratio / kept).nan_to_num(0, 0, 0).reshape(rest))
    return replace(moved, magnitude=kept * _lengths(own, moved))


def _lengths(weight: Tensor, layer: LoraLayer) -> Tensor:
    """(out,): of the changed rows, never nought."""
    change = (layer.up.flatten(1) @ layer.down.flatten(1)).reshape(weight.shape)
    return (weight + change).flatten(1).norm(dim=1) + torch.finfo(weight.dtype).eps
