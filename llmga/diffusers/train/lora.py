"""Low-rank weights beside the UNet's attention: learnt alone, saved in the layout that diffusers loads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from llmga.diffusers.lora_files import OWN_CONFIG, PREFERRED
from llmga.extras import require

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


def _settings(rank: int, alpha: float | None) -> Any:
    from peft import LoraConfig

    scale: Any = rank if alpha is None else alpha  # peft multiplies by it, whole or not
    return LoraConfig(r=rank, lora_alpha=scale, init_lora_weights="gaussian", target_modules=list(TARGETS))


def add_lora(unet: Any, rank: int, alpha: float | None, seed: int) -> None:
    """Freeze the UNet and put low-rank weights beside its attention (Hu et al. 2021, arXiv:2106.09685).

    They start without effect; what is drawn for them comes from the seed alone.

    Raises:
        UserError: peft is not installed.
    """
    from diffusers.training_utils import cast_training_params

    require("peft", "--tune lora")
    unet.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(_settings(rank, alpha))
    cast_training_params(unet, torch.float32)


def save_lora(unet: Any, weights: Mapping[str, Tensor], folder: Path, said: Mapping[str, str]) -> None:
    """Write `pytorch_lora_weights.safetensors`, which `load_lora_weights` of diffusers' pipelines reads.

    Args:
        weights: the low-rank weights by parameter name, as `unet.named_parameters` has them.
        said: what the head of the file says beside peft's settings, as of `origin_metadata`.
    """
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(unet, state_dict=weights)
    settings = {f"unet.{name}": value for name, value in unet.peft_config["default"].to_dict().items()}
    head = {"format": "pt", OWN_CONFIG: json.dumps(settings, default=sorted), **said}  # some settings are sets
    save_file({f"unet.{name}": tensor.contiguous() for name, tensor in state.items()}, folder / PREFERRED[0], head)
