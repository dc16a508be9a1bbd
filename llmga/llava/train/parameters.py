"""Which weights learn, in which number format, at which rate."""

from typing import Any

import torch
from torch import nn
from transformers.trainer_pt_utils import get_parameter_names

from llmga.llava.mllm import Mllm
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.towers import kind_of
from llmga.llava.train.settings import LOW_RANK, Stage1Config

PROJECTOR, TOWER, LOW_RANK_PART = "multi_modal_projector", "vision_tower.", "lora_"
NOT_DECAYED = (r"bias", r"norm")


def freeze(mllm: Mllm, tune: str, tower: bool = False) -> None:
    """Leave free what `tune` says, and with `tower` those parts of the vision tower that the projector sees."""
    unseen = _beyond_the_projector(mllm.model)
    for name, parameter in mllm.model.named_parameters():
        if TOWER in name:
            learns = tower and not any(part in name for part in unseen)
        else:
            learns = PROJECTOR in name or tune == "full" or (tune in LOW_RANK and LOW_RANK_PART in name)
        parameter.requires_grad_(learns)


def vision_config(model: LlmgaForConditionalGeneration) -> Any:
    """The configuration of the vision tower."""
    return model.config.vision_config


def _beyond_the_projector(model: LlmgaForConditionalGeneration) -> tuple[str, ...]:
    """Parts of the tower behind the layer that is read: they would wait for a gradient that never comes."""
    chosen: Any = model.config.vision_feature_layer  # one number, see `LlmgaConfig`
    depth = vision_config(model).num_hidden_layers
    read = chosen if chosen >= 0 else depth + 1 + chosen  # hidden state 0 is the embedding
    return (*kind_of(vision_config(model)).unseen, *(f"encoder.layers.{index}." for index in range(read, depth)))


def set_formats(model: nn.Module, frozen: torch.dtype, learning: torch.dtype = torch.float32) -> None:
    """Weights only: buffers, such as the angles of positions, and quantised weights stay what they are."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(learning if parameter.requires_grad else frozen)


def parameter_groups(model: nn.Module, config: Stage1Config) -> list[dict[str, Any]]:
    """Learning parameters by rate and decay; matrices decay, norms and biases do not."""
    decayed = set(get_parameter_names(model, [nn.LayerNorm], list(NOT_DECAYED)))
    projector_lr = config.lr if config.projector_lr is None else config.projector_lr
    groups = []
    for lr, ours in ((config.lr, False), (projector_lr, True)):
        for decays in (True, False):
            chosen = [
                parameter
                for name, parameter in model.named_parameters()
                if parameter.requires_grad and (PROJECTOR in name) == ours and (name in decayed) == decays
            ]
            groups.append({"params": chosen, "lr": lr, "weight_decay": config.weight_decay * decays})
    return [group for group in groups if group["params"]]
