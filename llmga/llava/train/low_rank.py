"""Low-rank matrices beside frozen, perhaps quantised layers: laid on, saved in the published layout, taken up again."""

from copy import copy
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from llmga.extras import require
from llmga.llava import adapters, checkpoints
from llmga.llava.mllm import Mllm
from llmga.llava.saving import save_description
from llmga.llava.train.parameters import LOW_RANK_PART
from llmga.llava.train.settings import Stage1Config

TEXT = "language_model."


def add_low_rank(mllm: Mllm, config: Stage1Config) -> None:
    """Lay fresh matrices upon every linear layer of the language model; the output layer keeps its own.

    The model stays the class that it is, its adapted layers are peft's.  They are drawn from torch's random state.

    Raises:
        UserError: peft is missing.
    """
    peft = require("peft", f"--tune {config.tune}")
    targets = [name for name, layer in mllm.model.named_modules() if TEXT in name and isinstance(layer, nn.Linear)]
    _keep_differentiable(mllm.model)
    settings = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        use_dora=config.tune == "dora",
        target_modules=targets,
        base_model_name_or_path=config.mllm,
        task_type="CAUSAL_LM",
    )
    adapted: Any = peft.PeftModel(mllm.model, settings).base_model
    mllm.model = adapted.model


def _keep_differentiable(model: nn.Module) -> None:
    """Keep 4-bit layers in training mode, whatever mode the model is in.

    On a CPU bitsandbytes lays their weights out anew the first time they run in evaluation mode, for a kernel that
    cannot be differentiated, and never lays them back: after one generation or measurement no gradient would pass.
    The mode changes nothing else in these layers.
    """
    layer: Any
    for layer in model.modules():
        if type(layer).__name__ == "Linear4bit":
            layer.train()
            layer.train = MethodType(lambda self, mode=True: self, layer)


def save_low_rank(
    mllm: Mllm, folder: str | Path, weights: dict[str, Tensor] | None = None, dtype: torch.dtype | None = None
) -> None:
    """Write the published layout: the adapter, what learned beside it, and the config.

    Args:
        weights: the model's state, where it had to be gathered from several processes.
        dtype: of the saved weights; None keeps every bit.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = mllm.model.state_dict() if weights is None else weights
    learning = {name for name, parameter in mllm.model.named_parameters() if parameter.requires_grad}
    learned = {name: _plain(weights[name], dtype) for name in sorted(learning)}
    kind = mllm.model.config.projector_type
    adapter = {_published(name, kind): tensor for name, tensor in learned.items() if LOW_RANK_PART in name}
    beside = {_published(name, kind): tensor for name, tensor in learned.items() if LOW_RANK_PART not in name}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(adapter, folder / adapters.ADAPTER_WEIGHTS[0], metadata={"format": "pt"})
    torch.save(beside, folder / adapters.NON_LORA)
    _save_settings(mllm, folder)
    save_description(mllm, folder, dtype or torch.float32)


def _save_settings(mllm: Mllm, folder: Path) -> None:
    """adapter_config.json with the layers' short names, as published ones have them."""
    settings: Any = copy(mllm.model.peft_config["default"])
    settings.target_modules = {name.rpartition(".")[2] for name in settings.target_modules}
    settings.inference_mode = True
    settings.save_pretrained(folder)


def restore_low_rank(mllm: Mllm, folder: Path) -> None:
    """Take up what `save_low_rank` wrote into a model with matrices of the same shapes.

    Raises:
        UserError: a tensor does not fit.
    """
    adapters.add_non_lora(mllm, folder)
    adapters.load_low_rank(mllm.model, folder)


def _plain(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.detach().to("cpu", dtype).contiguous()


def _published(name: str, projector_type: str) -> str:
    """Our parameter's name -> the one in adapter_model.safetensors or non_lora_trainables.bin."""
    return adapters.PEFT + checkpoints.published_name(adapters.from_peft_name(name), projector_type)
