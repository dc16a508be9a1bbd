"""Low-rank weights of any trainer, laid out for a painter: which of its layers each matrix changes, and how.

The names are translated by diffusers' own converters, one module at a time; what is ours is that every tensor of a file
finds its layer, or the file is refused in words.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.lora_files import LoraFile
from llmga.errors import UserError

PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
KOHYA_PARTS = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}
PEFT_PREFIX = "base_model.model."
PEFT_CLASSES = {"CLIPTextModel": "text_encoder", "CLIPTextModelWithProjection": "text_encoder_2"}
KEY = re.compile(
    r"(?P<module>.+?)\.(?P<role>lora_down|lora_A|lora_up|lora_B|lora_mid|alpha|dora_scale|lora_magnitude_vector)"
    r"(\.default)?(\.weight)?"
)
ROLES = {"lora_A": "lora_down", "lora_B": "lora_up"}  # peft's name -> kohya's
# OneTrainer's names, those of the first authors with dots, as the beginning of kohya's.
WITH_DOTS = (
    (re.compile(r"unet\.(?=(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.)"), "lora_unet."),
    (re.compile(r"clip_l\."), "lora_te1."),
    (re.compile(r"clip_g\."), "lora_te2."),
    (re.compile(r"lycoris_"), "lora_unet_"),
)
# Methods that change weights otherwise than by one product of two matrices, told by their tensors.
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
MERGE = "merge them into their checkpoint with the tool that trained them and give that, or train them as LoRA"


@dataclass(frozen=True)
class Layer:
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


Layers = dict[str, dict[str, Layer]]  # by the pipeline's part and the layer's own name in it


def layers_of(file: LoraFile, pipeline: Any, family: str) -> Layers:
    """What a file changes in a pipeline.

    Raises: UserError when the file was made for another family than `family`, or holds anything that would not be
        applied exactly.
    """
    _refuse_methods(file)
    targets = {part: _targets(getattr(pipeline, part)) for part in PARTS if getattr(pipeline, part, None) is not None}
    layers: Layers = {}
    strangers = []
    modules = _modules(file, pipeline, targets)
    for (part, module), tensors in modules.items():
        name, weight = targets.get(part, {}).get(_flat(module), (module, None))
        if weight is None or not _fits(tensors, weight):
            strangers.append(f"{part}.{module}".strip("."))
        else:
            layers.setdefault(part, {})[name] = _layer(file, part, module, tensors, weight)
    if strangers:
        raise UserError(f"{file.said} were made for another family than {family}: {len(strangers)} of their "
                        f"{len(modules)} modules do not fit, such as {strangers[0]}; choose others.")  # fmt: skip
    return layers


def _refuse_methods(file: LoraFile) -> None:
    modules = {name: _module_of(name) for name in file.tensors}
    for method, pattern in METHODS.items():
        if found := {module for name, module in modules.items() if re.search(pattern, name)}:
            raise UserError(f"{file.said} hold {method} in {len(found)} of {len(set(modules.values()))} modules, which "
                            f"is not painted here; {MERGE}.")  # fmt: skip
    for config in file.configs.values():
        if str(config.get("init_lora_weights")).lower().startswith(CHANGED_BASES):
            raise UserError(f"{file.said} were begun with {config['init_lora_weights']!r}, which changed their base as "
                            f"well; {MERGE}.")  # fmt: skip


def _module_of(name: str) -> str:
    start = name.split(".")[0]
    return start if start.startswith(("lora_", "lycoris_")) else re.sub(r"\.\w+(\.weight|\.bias)?$", "", name)


def _targets(part: Any) -> dict[str, tuple[str, Tensor]]:
    """Name with underscores for dots and without a text model's own prefix, which versions of transformers differ in ->
    (own name, weight)."""
    found = {}
    for name, layer in part.named_modules():
        base = getattr(layer, "base_layer", layer)  # with other low-rank weights beside it
        if isinstance(base, torch.nn.Linear | torch.nn.Conv2d):
            found[_flat(name)] = name, base.weight
    return found


def _flat(name: str) -> str:
    return name.removeprefix("text_model.").replace(".", "_")


def _modules(file: LoraFile, pipeline: Any, targets: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Tensor]]:
    """(part, module) -> role -> tensor.  Raises: UserError for tensors that say neither."""
    modules: dict[tuple[str, str], dict[str, Tensor]] = {}
    unknown = []
    known: dict[str, tuple[str, str]] = {}
    for name, tensor in _spelt(file, pipeline):
        if (match := KEY.fullmatch(name)) is None:
            unknown.append(name)
            continue
        module, role = match["module"], ROLES.get(match["role"], match["role"])
        if module not in known:
            known[module] = _place(module, file, pipeline, targets)
        roles = modules.setdefault(known[module], {})
        if role in roles:
            raise UserError(f"{file.said} state {'.'.join(known[module])} twice; fetch them again.")
        roles[role] = tensor
    if unknown:
        raise UserError(f"{file.said} hold {len(unknown)} tensors that are no part of LoRA, such as {unknown[0]!r}; "
                        f"{MERGE}.")  # fmt: skip
    halves = [".".join(place) for place, roles in modules.items() if not {"lora_down", "lora_up"} <= set(roles)]
    if halves:
        raise UserError(f"{file.said} lack a half of {len(halves)} modules, such as {halves[0]}; fetch them again.")
    return modules


def _spelt(file: LoraFile, pipeline: Any) -> Iterator[tuple[str, Tensor]]:
    """Names as kohya (`lora_unet_… .lora_down.weight`) or peft (`unet.… .lora_A.weight`) spell them."""
    tensors = file.tensors
    if not hasattr(pipeline, "unet"):  # newer families have names, and fused layers, of their own
        tensors = _translated(file, pipeline)
    for name, tensor in tensors.items():
        for pattern, start in WITH_DOTS:
            name = pattern.sub(start, name, count=1) if pattern.match(name) else name
        yield name if name.startswith("lora_") else _peft_name(name), tensor


def _translated(file: LoraFile, pipeline: Any) -> dict[str, Tensor]:
    if any("dora_scale" in name for name in file.tensors):
        raise UserError(f"{file.said} hold DoRA, which diffusers does not read for this family; {MERGE}.")
    try:
        state = pipeline.lora_state_dict(dict(file.tensors))
    except Exception as problem:  # every converter has its own kind
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
        raise UserError(f"{file.said} cannot be read for {type(pipeline).__name__}: {reason}") from None
    state, alphas = state[:2] if isinstance(state, tuple) else (state, None)
    return state | {name: torch.tensor(alpha) for name, alpha in (alphas or {}).items()}


def _peft_name(name: str) -> str:
    """Spelt as diffusers did at first (`attn1.processor.to_q_lora.down.weight`), or later (`to_q.lora.down.weight`)."""
    from diffusers.utils.state_dict_utils import (
        StateDictType,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    state: dict[str, Any] = {name: None}
    if "text_" in name:
        state = convert_state_dict_to_peft(state, StateDictType.DIFFUSERS_OLD)
    else:
        state = convert_unet_state_dict_to_peft(state)
    return next(iter(convert_state_dict_to_peft(state, StateDictType.DIFFUSERS)))


def _place(module: str, file: LoraFile, pipeline: Any, targets: Mapping[str, Any]) -> tuple[str, str]:
    """The pipeline's part and the layer's path in it; no part where it cannot be told."""
    if module.startswith("lora_"):
        return _place_of_kohya(module.replace(".", "_"), pipeline, targets)
    part, _, rest = module.partition(".")
    if part in PARTS:
        return part, rest
    module = module.removeprefix(PEFT_PREFIX)
    mapping = file.configs.get("", {}).get("auto_mapping") or {}
    if named := PEFT_CLASSES.get(mapping.get("base_model_class", "")):
        return named, module
    return next((part for part, layers in targets.items() if _flat(module) in layers), ""), module


def _place_of_kohya(module: str, pipeline: Any, targets: Mapping[str, Any]) -> tuple[str, str]:
    """Today's names with underscores, or else those of the first authors, which diffusers' converter knows."""
    for start, part in KOHYA_PARTS.items():
        flat = module.removeprefix(start).removeprefix("text_model_")
        if module.startswith(start) and (name := targets.get(part, {}).get(flat)):
            return part, name[0]
    probe = {f"{module}.lora_{end}.weight": torch.empty(0) for end in ("down", "up")}
    options = {"unet_config": pipeline.unet.config} if hasattr(pipeline, "unet") else {}  # they number blocks by it
    try:
        state = pipeline.lora_state_dict(probe, **options)
    except (ValueError, IndexError, KeyError, AttributeError):  # a name of another family
        return "", module
    name = _peft_name(next(iter(state[0])))
    part, _, rest = name.removesuffix(".lora_A.weight").partition(".")
    return (part, rest) if part in PARTS else ("", module)


def _fits(tensors: Mapping[str, Tensor], weight: Tensor) -> bool:
    down, up = tensors["lora_down"], tensors["lora_up"]
    if min(down.ndim, up.ndim) < 2 or up.shape[0] != weight.shape[0] or down.shape[1] != weight.shape[1]:
        return False
    kernel = math.prod(weight.shape[2:])
    if (mid := tensors.get("lora_mid")) is not None:
        return mid.shape[:2] == (up.shape[1], down.shape[0]) and math.prod(mid.shape[2:]) == kernel
    return up[0].numel() == down.shape[0] and down[0].numel() == weight[0].numel()


def _layer(file: LoraFile, part: str, module: str, tensors: Mapping[str, Tensor], weight: Tensor) -> Layer:
    """Raises: UserError for values that are no numbers, and for DoRA over inputs."""
    rank = tensors["lora_down"].shape[0]
    scale = float(tensors["alpha"]) / rank if "alpha" in tensors else _scale(file, part, module, rank)
    down, up = tensors["lora_down"].float() * scale, tensors["lora_up"].float()
    if (mid := tensors.get("lora_mid")) is not None:
        down = torch.einsum("mn...,ni->mi...", mid.float(), down.flatten(1))
    down = down.reshape(-1, *weight.shape[1:])
    up = up.reshape(len(weight), -1, *(1 for _ in weight.shape[2:]))
    layer = Layer(down, up, _magnitude(file, tensors, weight))
    if not all(bool(torch.isfinite(tensor).all()) for tensor in vars(layer).values() if tensor is not None):
        raise UserError(f"{file.said} hold values that are no numbers, such as in {module}; fetch them again.")
    return layer


def _scale(file: LoraFile, part: str, module: str, rank: int) -> float:
    """What peft multiplies a product with; 1 without its settings."""
    from peft.utils.other import get_pattern_key

    config = file.configs.get(part) or file.configs.get("") or {}
    patterns = config.get("alpha_pattern") or {}
    alpha = patterns.get(get_pattern_key(patterns, module), config.get("lora_alpha", rank))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _magnitude(file: LoraFile, tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor | None:
    """(out,).  kohya's spelling keeps it as (out, 1), peft's as (out,) or, beside convolutions, (1, out, 1, 1)."""
    if (vector := tensors.get("lora_magnitude_vector")) is not None and vector.numel() == len(weight):
        return vector.flatten().float()
    if (vector := tensors.get("dora_scale", vector)) is None:
        return None
    if vector.numel() != len(weight) or vector.shape[:1] != weight.shape[:1]:
        raise UserError(f"{file.said} hold DoRA with a magnitude for each input instead of each output, which is not "
                        f"painted here (in OneTrainer, 'apply on output axis' trains the other); {MERGE}.")  # fmt: skip
    return vector.flatten().float()


@torch.no_grad()
def weighed(layer: Layer, weight: Tensor, share: float, *, decomposed: bool) -> Layer:
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


def _lengths(weight: Tensor, layer: Layer) -> Tensor:
    """(out,): of the changed rows, never nought."""
    change = (layer.up.flatten(1) @ layer.down.flatten(1)).reshape(weight.shape)
    return (weight + change).flatten(1).norm(dim=1) + torch.finfo(weight.dtype).eps
