"""Low-rank weights put beside a pipeline's layers, by peft."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from torch import Tensor

from llmga.diffusers.lora_layers import LoraLayer
from llmga.diffusers.lora_names import PARTS


def inject(pipe: Any, layers: Mapping[str, Mapping[str, LoraLayer]], share: float) -> None:
    """Put the products, times `share`, beside the layers under a name of their own.

    They paint after `activate`.
    """
    parts = dict(_parts(pipe))
    taken = {name for part in parts.values() for name in _there(part)}
    free = next(name for name in map("lora{}".format, count()) if name not in taken)
    for name, changes in layers.items():
        _inject(parts[name], changes, share, free)


def activate(pipe: Any) -> None:
    """Paint with all that was injected."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for _, part in _parts(pipe):
        for layer in part.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.set_adapter(_there(part), inference_mode=True)


def _parts(pipe: Any) -> Iterator[tuple[str, Any]]:
    named = ((name, getattr(pipe, name, None)) for name in PARTS)
    return ((name, part) for name, part in named if part is not None)


def _there(part: Any) -> list[str]:
    """Names of the low-rank weights beside a part's layers."""
    return list(getattr(part, "peft_config", {}))


def _inject(part: Any, changes: Mapping[str, LoraLayer], share: float, name: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for path, layer in changes.items():
        weight = _weight(part, path)
        ranks[path] = len(layer.down)
        tensors[f"{path}.lora_A.weight"] = layer.down.to(weight.dtype)
        tensors[f"{path}.lora_B.weight"] = (layer.up * share).to(weight.dtype)
    usual = Counter(ranks.values()).most_common(1)[0][0]
    others = {f"^{re.escape(path)}": rank for path, rank in ranks.items() if rank != usual}
    config = LoraConfig(  # alpha is the rank: the layers have theirs applied
        r=usual, lora_alpha=usual, rank_pattern=others, alpha_pattern=others, target_modules=list(ranks),
        inference_mode=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several files are meant
        inject_adapter_in_model(config, part, adapter_name=name, state_dict=tensors, low_cpu_mem_usage=True)
    taken: Any = set_peft_model_state_dict(part, tensors, name, low_cpu_mem_usage=True)
    part._hf_peft_config_loaded = True  # where diffusers and transformers look
    left = [*taken.unexpected_keys, *(key for key in taken.missing_keys if f".{name}" in key)]
    if left:
        raise RuntimeError(f"{len(left)} matrices found no place beside {type(part).__name__}, such as {left[0]}")


def _weight(part: Any, path: str) -> Tensor:
    layer = part.get_submodule(path)
    return getattr(layer, "base_layer", layer).weight
