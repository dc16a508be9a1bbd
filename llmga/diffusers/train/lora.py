"""Low-rank weights beside a network's attention: learnt alone, saved in the layout that diffusers loads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from llmga.diffusers.lora_files import OWN_CONFIG, PREFERRED
from llmga.extras import require

CLIP_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")  # of text encoders
CLIP_LEVEL = "text_model."  # of CLIP's names; transformers 5.6 left it out, files of low-rank weights have it


def _settings(rank: int, alpha: float | None, targets: Sequence[str], dora: bool) -> Any:
    from peft import LoraConfig

    scale: Any = rank if alpha is None else alpha  # peft multiplies by it, whole or not
    return LoraConfig(
        r=rank, lora_alpha=scale, init_lora_weights="gaussian", target_modules=list(targets), use_dora=dora
    )


def add_lora(
    network: Any, rank: int, alpha: float | None, seed: int, *, targets: Sequence[str], dora: bool = False
) -> None:
    """Freeze a network and put low-rank weights beside its attention (Hu et al. 2021, arXiv:2106.09685).

    They start without effect; what is drawn for them comes from the seed alone.

    Args:
        targets: names of layers.
        dora: learn lengths beside directions (Liu et al. 2024, arXiv:2402.09353).

    Raises:
        UserError: peft is not installed.
    """
    from diffusers.training_utils import cast_training_params

    require("peft", "--tune lora")
    network.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.add_adapter(_settings(rank, alpha, targets, dora))
    cast_training_params(network, torch.float32)


def save_lora(
    networks: Mapping[str, Any], weights: Mapping[str, Mapping[str, Tensor]], folder: Path, said: Mapping[str, str]
) -> None:
    """Write `pytorch_lora_weights.safetensors`, which `load_lora_weights` of diffusers' pipelines reads.

    Args:
        networks: by the names of the pipeline's parts.
        weights: the low-rank weights of each by parameter name, as its `named_parameters` has them.
        said: what the head of the file says beside peft's settings, as of `origin_metadata`.
    """
    from peft import get_peft_model_state_dict

    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for part, network in networks.items():
        state = get_peft_model_state_dict(network, state_dict=dict(weights[part]), adapter_name="default")
        tensors |= {f"{part}.{_in_files(part, name)}": tensor.contiguous() for name, tensor in state.items()}
        settings |= {f"{part}.{name}": value for name, value in network.peft_config["default"].to_dict().items()}
    head = {"format": "pt", OWN_CONFIG: json.dumps(settings, default=sorted), **said}  # some settings are sets
    save_file(tensors, folder / PREFERRED[0], head)


def _in_files(part: str, name: str) -> str:
    """As transformers, too, finds what is beside a text encoder: it looks for weights of magnitudes."""
    if not part.startswith("text_encoder"):
        return name
    name = f"{name}.weight" if name.endswith("lora_magnitude_vector") else name
    return name if name.startswith(CLIP_LEVEL) else f"{CLIP_LEVEL}{name}"
