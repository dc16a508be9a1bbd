"""Which layer of a pipeline each tensor of a file of low-rank weights is about, in the spelling of any trainer.

The first authors' names and diffusers' older ones are translated by diffusers' own converters, one module at a time.
"""

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.lora_files import LoraFile, such_as
from llmga.diffusers.lora_methods import METHODS, methods_of
from llmga.diffusers.lora_methods import ROLES as KNOWN_ROLES
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
ROLES = {"lora_A": "lora_down", "lora_B": "lora_up"}  # peft's name -> kohya's
KEY = re.compile(
    rf"(?P<module>.+?)\.(?P<role>{'|'.join(sorted({*KNOWN_ROLES, *ROLES} - {'lora_up.bias'}, key=len, reverse=True))})"
    r"(\.default(_\d+)?)?(?P<end>\.weight|\.bias)?"
)
MERGE = "merge them into their checkpoint with the tool that trained them and give that, or train them as LoRA"
# OneTrainer's names, those of the first authors with dots, as the beginning of kohya's.
WITH_DOTS = (
    (re.compile(r"unet\.(?=(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.)"), "lora_unet."),
    (re.compile(r"clip_l\."), "lora_te1."),
    (re.compile(r"clip_g\."), "lora_te2."),
    (re.compile(r"lycoris_|oft_unet_"), "lora_unet_"),
)
# The first authors' norms, which diffusers does not rename: a layer beside each that it does, and how the two differ.
BESIDE_NORMS = (
    (re.compile(r"_in_layers_0$"), "_in_layers_2", "conv1", "norm1"),
    (re.compile(r"_out_layers_0$"), "_out_layers_3", "conv2", "norm2"),
    (re.compile(r"_unet_out_0$"), "_unet_out_2", "conv_out", "conv_norm_out"),
)
NORMS = (torch.nn.LayerNorm, torch.nn.GroupNorm)
CHANGED = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Embedding, *NORMS)
LoraTarget = tuple[str, str]  # the pipeline's part, and the module in it as the file spells it
Targets = Mapping[str, Mapping[str, tuple[str, torch.nn.Module]]]  # part -> flat name -> (own name, layer)


def targets_of(pipe: Any) -> Targets:
    """The layers that a file can change."""
    parts = {part: getattr(pipe, part, None) for part in PARTS}
    return {part: _layers(model) for part, model in parts.items() if model is not None}


def _layers(part: Any) -> dict[str, tuple[str, torch.nn.Module]]:
    found: dict[str, tuple[str, torch.nn.Module]] = {}
    for name, layer in part.named_modules():
        base = getattr(layer, "base_layer", layer)  # with other low-rank weights beside it
        if isinstance(base, CHANGED) and base.weight is not None:
            found[flat(name)] = name, base
    return found


def flat(name: str) -> str:
    """With underscores for dots, and without a text model's own prefix, which versions of transformers differ in."""
    return name.removeprefix("text_model.").replace(".", "_")


def modules_of(file: LoraFile, pipe: Any, targets: Targets) -> dict[LoraTarget, dict[str, Tensor]]:
    """The tensors of each module by their role: `lora_down`, `hada_w1_a` … as `lora_methods` calls them.

    A module that no part is known for has the part `""`.

    Raises:
        UserError: for tensors with no role, with one that is taken, or without their other half.
    """
    modules: dict[LoraTarget, dict[str, Tensor]] = {}
    unknown = []
    known: dict[str, LoraTarget] = {}
    for name, tensor in _spelt(file, pipe, targets):
        if (found := role_of(name, file.tensors)) is None:
            unknown.append(name)
            continue
        module, role = found
        if module not in known:
            known[module] = _place(module, file, pipe, targets)
        roles = modules.setdefault(known[module], {})
        if role in roles:
            raise UserError(f"{file.label} state a module twice, {such_as([module])}; fetch them again.")
        roles[role] = tensor
    if unknown:
        raise UserError(f"{file.label} hold {len(unknown)} tensors that are no part of LoRA, {such_as(unknown)}; "
                        f"{MERGE}.")  # fmt: skip
    halves = [".".join(place) for place, roles in modules.items() if not methods_of(roles)]
    if halves:
        raise UserError(f"{file.label} lack a half of {len(halves)} modules, {such_as(halves)}; fetch them again.")
    return modules


def role_of(name: str, names: Container[str]) -> tuple[str, str] | None:
    """The module and what a tensor is of it; None for what is no adapter's.

    Args:
        names: of the whole file: a plain `weight` is (IA)^3's beside its `on_input`.
    """
    if match := KEY.fullmatch(name):
        end = ".bias" if match["end"] == ".bias" else ""
        return match["module"], ROLES.get(match["role"], match["role"]) + end
    module, _, role = name.rpartition(".")
    return (module, role) if role == "weight" and f"{module}.on_input" in names else None


def _spelt(file: LoraFile, pipe: Any, targets: Targets) -> Iterator[tuple[str, Tensor]]:
    """Names as kohya (`lora_unet_… .lora_down.weight`) or peft (`unet.… .lora_A.weight`) spell them."""
    tensors = file.tensors
    if not hasattr(pipe, "unet"):  # newer families have names, and fused layers, of their own
        if direct := _own_names(file, targets.get("transformer", {})):
            yield from direct.items()
            return
        tensors = _translated(file, pipe)
    for name, tensor in tensors.items():
        for pattern, start in WITH_DOTS:
            name = pattern.sub(start, name, count=1) if pattern.match(name) else name
        yield name if name.startswith("lora_") else _peft_name(name), tensor


def _own_names(file: LoraFile, layers: Mapping[str, tuple[str, torch.nn.Module]]) -> dict[str, Tensor]:
    """Tensors of a transformer whose layers are called as here, but for their beginnings; nothing for other files."""
    found = {}
    for name, tensor in file.tensors.items():
        module, role = role_of(name, file.tensors) or ("", "")
        module = re.sub(r"^(lycoris_|lora_unet_|lora_transformer_|transformer\.|diffusion_model\.)", "", module)
        if (layer := layers.get(flat(module))) is None:
            return {}
        found[f"transformer.{layer[0]}.{role}"] = tensor
    return found


def _translated(file: LoraFile, pipe: Any) -> dict[str, Tensor]:
    if others := {
        row.said for name in file.tensors for row in METHODS[1:] if any(shown in name for shown in row.shown_by)
    }:
        raise UserError(f"{file.label} hold {min(others)} under names that diffusers does not translate for this "
                        f"family; {MERGE}.")  # fmt: skip
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
    for pattern, stand_in, its_name, name in BESIDE_NORMS:
        if pattern.search(module):
            part, path = _place_of_kohya(pattern.sub(stand_in, module), pipe, targets)
            return part, re.sub(rf"{its_name}$", name, path)
    probe = {f"{module}.lora_{end}.weight": torch.empty(0) for end in ("down", "up")}
    options = {"unet_config": pipe.unet.config} if hasattr(pipe, "unet") else {}  # they number blocks by it
    try:
        state = pipe.lora_state_dict(probe, **options)
    except (ValueError, IndexError, KeyError, AttributeError):  # a name of another family
        return "", module
    name = _peft_name(next(iter(state[0])))
    part, _, rest = name.removesuffix(".lora_A.weight").partition(".")
    return (part, rest) if part in PARTS else ("", module)
