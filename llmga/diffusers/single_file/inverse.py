"""Tensors of diffusers and transformers by the names of the authors' layout (LDM), bit for bit.

    down_blocks.1.attentions.0  →  input_blocks.4.1          of two layers a level, and a step down after them
    up_blocks.0.resnets.2       →  output_blocks.2.0
    mid_block.resnets.1         →  middle_block.2

The way back is diffusers' own; a test holds the two together.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]

OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0",
    "conv_out": "out.2", "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip
IN_RESNETS = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
              "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def unet_to_ldm(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Weights:
    """A UNet's tensors.

    Args:
        weights: by diffusers' names.
        config: with `layers_per_block` and `up_block_types`.
    """
    return {_unet_name(name, config): each for name, each in weights.items()}


def _unet_name(name: str, config: Mapping[str, Any]) -> str:
    for ours, theirs in OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return theirs + _in_resnet(name.removeprefix(ours))
    found = BLOCK.fullmatch(name)
    assert found is not None, name
    way, level, what, number = found[1], int(found[2]), found[3], int(found[4])
    layers = int(config["layers_per_block"])
    if way == "down":
        if what == "downsamplers":
            return f"input_blocks.{(layers + 1) * (level + 1)}.0.op.{found[5].removeprefix('conv.')}"
        block = f"input_blocks.{(layers + 1) * level + number + 1}"
    elif what == "upsamplers":
        attends = "CrossAttn" in config["up_block_types"][level]
        return f"output_blocks.{(layers + 1) * level + layers}.{1 + attends}.{found[5]}"
    else:
        block = f"output_blocks.{(layers + 1) * level + number}"
    return f"{block}.{int(what == 'attentions')}{_in_resnet('.' + found[5])}"


def _in_resnet(rest: str) -> str:
    """What follows a block's name, `.norm1.weight`; attention's names are the same on both sides."""
    first, _, last = rest[1:].partition(".")
    return f".{IN_RESNETS[first]}.{last}" if first in IN_RESNETS and "transformer_blocks" not in rest else rest


VAE_WORDS = (
    (re.compile(r"(encoder|decoder)\.mid_block\.resnets\.0"), r"\1.mid.block_1"),
    (re.compile(r"(encoder|decoder)\.mid_block\.resnets\.1"), r"\1.mid.block_2"),
    (re.compile(r"(encoder|decoder)\.mid_block\.attentions\.0"), r"\1.mid.attn_1"),
    (re.compile(r"\.conv_norm_out\."), ".norm_out."),
    (re.compile(r"\.group_norm\."), ".norm."),
    (re.compile(r"\.to_([qkv])\."), r".\1."),
    (re.compile(r"\.to_out\.0\."), ".proj_out."),
    (re.compile(r"\.conv_shortcut\."), ".nin_shortcut."),
    (re.compile(r"encoder\.down_blocks\."), "encoder.down."),
    (re.compile(r"\.(down|up)\.(\d+)\.resnets\."), r".\1.\2.block."),
    (re.compile(r"\.(down|up)samplers\.0\."), r".\1sample."),
)


def vae_to_ldm(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Weights:
    """A VAE's tensors; its attention's matrices become convolutions of one pixel, as their authors have them.

    Args:
        weights: by diffusers' names.
        config: with `block_out_channels`.
    """
    last = len(config["block_out_channels"]) - 1
    found = {}
    for name, each in weights.items():
        new = re.sub(r"decoder\.up_blocks\.(\d+)\.", lambda m: f"decoder.up.{last - int(m[1])}.", name)
        for pattern, words in VAE_WORDS:
            new = pattern.sub(words, new)
        square = re.search(r"\.attn_1\.(q|k|v|proj_out)\.weight$", new) and each.ndim == 2
        found[new] = each[:, :, None, None] if square else each
    return found


LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
IN_LAYERS = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}


def open_clip_to_ldm(weights: Mapping[str, Tensor]) -> Weights:
    """A text tower's tensors in OpenCLIP's layout: the three projections of attention in one, and the last one turned.

    Args:
        weights: by the names that hubs have, with `text_model.`.
    """
    found: Weights = {}
    for name, each in weights.items():
        match = LAYER.fullmatch(name)
        if match is None:
            found |= {"text_projection": each.T.contiguous()} if name == "text_projection.weight" else (
                {OPEN_CLIP.get(name, name): each})  # fmt: skip
        elif match[2] == "self_attn.q_proj":
            stem = name.removesuffix(f"q_proj.{match[3]}")
            three = [weights[f"{stem}{letter}_proj.{match[3]}"] for letter in "qkv"]
            found[f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"] = torch.cat(three)
        elif match[2] in IN_LAYERS:
            found[f"transformer.resblocks.{match[1]}.{IN_LAYERS[match[2]]}.{match[3]}"] = each
    return found
