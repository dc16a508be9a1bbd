"""Low-rank weights put beside a pipeline's layers, by peft."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from torch import Tensor

from llmga.diffusers.lora_files import LoraFile
from llmga.diffusers.lora_layers import LoraLayer, LoraLayers, weighed
from llmga.diffusers.lora_names import PARTS
from llmga.errors import UserError


def check_decomposed(pipe: Any, given: Sequence[tuple[LoraFile, LoraLayers]], offload: str) -> None:
    """See that DoRA can be applied.

    Raises:
        UserError: for a second DoRA in one part: each would scale what the other adds; and for one whose matrices would
            be away when it looks at them.
    """
    for name, part in _parts(pipe):
        new = [file for file, layers in given if _decomposed(layers.get(name, {}))]
        if new and offload == "sequential":
            raise UserError(f"{new[0].label} are DoRA, which needs a layer's weights together; give --offload model "
                            "instead of sequential.")  # fmt: skip
        if new and len(new) + sum(_there(part).values()) > 1:
            raise UserError(f"{new[-1].label} are a second DoRA for the {name}, which would scale what the first adds; "
                            "give one DoRA, beside any number of plain low-rank weights.")  # fmt: skip


def inject(pipe: Any, layers: LoraLayers, share: float) -> None:
    """Put the changes, times `share`, beside the layers under a name of their own.

    They paint after `activate`.
    """
    parts = dict(_parts(pipe))
    taken = {name for part in parts.values() for name in _there(part)}
    free = next(name for name in map("lora{}".format, count()) if name not in taken)
    for name, changes in layers.items():
        _inject(parts[name], changes, share, free)


def activate(pipe: Any) -> None:
    """Paint with all that was injected; DoRA comes first, because it scales what stands before it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for _, part in _parts(pipe):
        names = _there(part)
        for layer in part.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.set_adapter(sorted(names, key=lambda name: names[name], reverse=True), inference_mode=True)


def _parts(pipe: Any) -> Iterator[tuple[str, Any]]:
    named = ((name, getattr(pipe, name, None)) for name in PARTS)
    return ((name, part) for name, part in named if part is not None)


def _there(part: Any) -> dict[str, bool]:
    """Low-rank weights beside a part's layers: name -> whether they are DoRA."""
    return {name: bool(config.use_dora) for name, config in getattr(part, "peft_config", {}).items()}


def _decomposed(changes: Mapping[str, LoraLayer]) -> bool:
    return any(layer.magnitude is not None for layer in changes.values())


def _inject(part: Any, changes: Mapping[str, LoraLayer], share: float, name: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    decomposed = _decomposed(changes)
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for path, layer in changes.items():
        weight = _weight(part, path)
        layer = weighed(layer, weight, share, decomposed=decomposed)
        ranks[path] = len(layer.down)
        tensors |= {f"{path}.{role}": tensor.to(weight.dtype) for role, tensor in _spelt(layer)}
    usual = Counter(ranks.values()).most_common(1)[0][0]
    others = {f"^{re.escape(path)}": rank for path, rank in ranks.items() if rank != usual}
    config = LoraConfig(  # alpha is the rank: the layers have theirs applied
        r=usual, lora_alpha=usual, rank_pattern=others, alpha_pattern=others, target_modules=list(ranks),
        use_dora=decomposed, inference_mode=True,
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


def _spelt(layer: LoraLayer) -> Iterator[tuple[str, Tensor]]:
    yield "lora_A.weight", layer.down
    yield "lora_B.weight", layer.up
    if layer.magnitude is not None:
        yield "lora_magnitude_vector", layer.magnitude.reshape(1, -1, 1, 1) if layer.up.ndim == 4 else layer.magnitude
