"""Which layer of a pipeline each tensor of a file of low-rank weights is about, in the spelling of any trainer.

The first authors' names and diffusers' older ones are translated by diffusers' own converters, one module at a time.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.lora_files import LoraFile, such_as
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
    r"(\.default(_\d+)?)?(\.weight)?"
)
ROLES = {"lora_A": "lora_down", "lora_B": "lora_up"}  # peft's name -> kohya's
MERGE = "merge them into their checkpoint with the tool that trained them and give that, or train them as LoRA"
# OneTrainer's names, those of the first authors with dots, as the beginning of kohya's.
WITH_DOTS = (
    (re.compile(r"unet\.(?=(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.)"), "lora_unet."),
    (re.compile(r"clip_l\."), "lora_te1."),
    (re.compile(r"clip_g\."), "lora_te2."),
    (re.compile(r"lycoris_"), "lora_unet_"),
)
LoraTarget = tuple[str, str]  # the pipeline's part, and the module in it as the file spells it
Targets = Mapping[str, Mapping[str, tuple[str, Tensor]]]  # part -> flat name -> (own name, weight)


def targets_of(pipe: Any) -> Targets:
    """The layers that low-rank weights can stand beside."""
    parts = {part: getattr(pipe, part, None) for part in PARTS}
    return {part: _layers(model) for part, model in parts.items() if model is not None}


def _layers(part: Any) -> dict[str, tuple[str, Tensor]]:
    found = {}
    for name, layer in part.named_modules():
        base = getattr(layer, "base_layer", layer)  # with other low-rank weights beside it
        if isinstance(base, torch.nn.Linear | torch.nn.Conv2d):
            found[flat(name)] = name, base.weight
    return found


def flat(name: str) -> str:
    """With underscores for dots, and without a text model's own prefix, which versions of transformers differ in."""
    return name.removeprefix("text_model.").replace(".", "_")


def modules_of(file: LoraFile, pipe: Any, targets: Targets) -> dict[LoraTarget, dict[str, Tensor]]:
    """The tensors of each module by their role: `lora_down`, `lora_up`, `lora_mid`, `alpha`, `dora_scale` (kohya's) or
    `lora_magnitude_vector` (peft's).

    A module that no part is known for has the part `""`.

    Raises:
        UserError: for tensors with no role, with one that is taken, or without their other half.
    """
    modules: dict[LoraTarget, dict[str, Tensor]] = {}
    unknown = []
    known: dict[str, LoraTarget] = {}
    for name, tensor in _spelt(file, pipe):
        if (match := KEY.fullmatch(name)) is None:
            unknown.append(name)
            continue
        module, role = match["module"], ROLES.get(match["role"], match["role"])
        if module not in known:
            known[module] = _place(module, file, pipe, targets)
        roles = modules.setdefault(known[module], {})
        if role in roles:
            raise UserError(f"{file.label} state a module twice, {such_as([module])}; fetch them again.")
        roles[role] = tensor
    if unknown:
        raise UserError(f"{file.label} hold {len(unknown)} tensors that are no part of LoRA, {such_as(unknown)}; "
                        f"{MERGE}.")  # fmt: skip
    halves = [".".join(place) for place, roles in modules.items() if not {"lora_down", "lora_up"} <= set(roles)]
    if halves:
        raise UserError(f"{file.label} lack a half of {len(halves)} modules, {such_as(halves)}; fetch them again.")
    return modules


def _spelt(file: LoraFile, pipe: Any) -> Iterator[tuple[str, Tensor]]:
    """Names as kohya (`lora_unet_… .lora_down.weight`) or peft (`unet.… .lora_A.weight`) spell them."""
    tensors = file.tensors
    if not hasattr(pipe, "unet"):  # newer families have names, and fused layers, of their own
        tensors = _translated(file, pipe)
    for name, tensor in tensors.items():
        for pattern, start in WITH_DOTS:
            name = pattern.sub(start, name, count=1) if pattern.match(name) else name
        yield name if name.startswith("lora_") else _peft_name(name), tensor


def _translated(file: LoraFile, pipe: Any) -> dict[str, Tensor]:
    if any("dora_scale" in name for name in file.tensors):
        raise UserError(f"{file.label} hold DoRA, which diffusers does not read for this family; {MERGE}.")
    try:
        state = pipe.lora_state_dict(dict(file.tensors))
    except Exception as problem:  # every converter has its own kind
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
        raise UserError(f"{file.label} cannot be read for {type(pipe).__name__}: {reason}") from None
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
    state = convert_unet_state_dict_to_peft(state)
    return next(iter(convert_state_dict_to_peft(state, StateDictType.DIFFUSERS)))


def _place(module: str, file: LoraFile, pipe: Any, targets: Targets) -> LoraTarget:
    """The pipeline's part and the layer's path in it; no part where it cannot be told."""
    if module.startswith("lora_"):
        return _place_of_kohya(module.replace(".", "_"), pipe, targets)
    part, _, rest = module.partition(".")
    if part in PARTS:
        return part, rest
    module = module.removeprefix(PEFT_PREFIX)
    if named := PEFT_CLASSES.get(file.configs.get("", {}).get("base_model_class", "")):
        return named, module
    return next((part for part, layers in targets.items() if flat(module) in layers), ""), module


def _place_of_kohya(module: str, pipe: Any, targets: Targets) -> LoraTarget:
    """Today's names with underscores, or else those of the first authors, which diffusers' converter knows."""
    for start, part in KOHYA_PARTS.items():
        flat = module.removeprefix(start).removeprefix("text_model_")
        if module.startswith(start) and (target := targets.get(part, {}).get(flat)):
            return part, target[0]
    probe = {f"{module}.lora_{end}.weight": torch.empty(0) for end in ("down", "up")}
    options = {"unet_config": pipe.unet.config} if hasattr(pipe, "unet") else {}  # they number blocks by it
    try:
        state = pipe.lora_state_dict(probe, **options)
    except (ValueError, IndexError, KeyError, AttributeError):  # a name of another family
        return "", module
    name = _peft_name(next(iter(state[0])))
    part, _, rest = name.removesuffix(".lora_A.weight").partition(".")
    return (part, rest) if part in PARTS else ("", module)
