"""Configurations of the parts, read from the shapes of their tensors as the authors' layout (LDM) names them."""

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

from llmga.diffusers.single_file.families import HEAD, SingleFileFamily, Tower
from llmga.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]


def below(shapes: Shapes, prefix: str) -> Shapes:
    """Those under a prefix, without it."""
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def unet_config(shapes: Shapes, family: SingleFileFamily) -> Config:
    """Settings of the UNet.

    Args:
        shapes: of its tensors, `input_blocks.0.0.weight` …

    Raises:
        UserError: its levels are not alike in the number of their layers, which diffusers cannot build.
    """
    levels = _levels(shapes)
    widths = [level["width"] for level in levels]
    middle = _depth(shapes, "middle_block.1")
    depths = [level["depth"] or (middle if level is levels[-1] else 1) for level in levels]
    if len({level["layers"] for level in levels}) > 1 or middle != depths[-1]:
        layers = [level["layers"] for level in levels]
        raise UserError(f"the UNet has {layers} layers in its levels and {middle} in its middle, such as pruned ones "
                        "have; give its diffusers folder.")  # fmt: skip
    attends = [bool(level["depth"]) for level in levels]
    config: Config = {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": widths,
        "layers_per_block": levels[0]["layers"],
        "down_block_types": ["CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attends)],
        "transformer_layers_per_block": depths if len(set(depths)) > 1 else depths[0],
        "cross_attention_dim": _first(shapes, r".*attn2\.to_k\.weight")[1],
        "use_linear_projection": len(_first(shapes, r".*proj_in\.weight")) == 2,
        "attention_head_dim": [max(1, width // HEAD) for width in widths],
    } | dict(family.unet)
    if classes := shapes.get("label_emb.0.0.weight"):
        config["projection_class_embeddings_input_dim"] = classes[1]
    return config


def _levels(shapes: Shapes) -> list[Config]:
    """Width, layers and depth of attention at each level, the finest first."""
    levels = [{"layers": 0, "depth": 0, "width": 0}]
    for number in count(1):
        block = f"input_blocks.{number}"
        if f"{block}.0.op.weight" in shapes:
            levels.append({"layers": 0, "depth": 0, "width": 0})
        elif (conv := shapes.get(f"{block}.0.in_layers.2.weight")) is not None:
            levels[-1]["layers"] += 1
            levels[-1]["width"] = conv[0]
            levels[-1]["depth"] = _depth(shapes, f"{block}.1")
        else:
            return levels
    raise AssertionError


def _depth(shapes: Shapes, block: str) -> int:
    return next(each for each in count() if f"{block}.transformer_blocks.{each}.norm1.weight" not in shapes)


def _first(shapes: Shapes, pattern: str) -> tuple[int, ...]:
    return next((shape for name, shape in shapes.items() if re.fullmatch(pattern, name)), (0, 0))


def vae_config(shapes: Shapes) -> Config:
    """Settings of the VAE.

    Args:
        shapes: of its tensors, `encoder.conv_in.weight` …
    """
    levels = [each for each in range(9) if f"encoder.down.{each}.block.0.conv1.weight" in shapes]
    widths = [shapes[f"encoder.down.{each}.block.0.conv1.weight"][0] for each in levels]
    layers = next(each for each in count() if f"encoder.down.0.block.{each}.conv1.weight" not in shapes)
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


# What the tensors of a text tower are called: token table, positions, a layer's first matrix, the projection.
NAMES = {
    "clip": ("text_model.embeddings.token_embedding.weight", "text_model.embeddings.position_embedding.weight",
             "text_model.encoder.layers.{}.mlp.fc1.weight", "text_projection.weight"),
    "openclip": ("token_embedding.weight", "positional_embedding", "transformer.resblocks.{}.mlp.c_fc.weight",
                 "text_projection"),
}  # fmt: skip


def text_config(shapes: Shapes, tower: Tower) -> Config:
    """Settings of a text tower.

    Args:
        shapes: of its tensors.
    """
    tokens, positions, layer, projection = NAMES[tower.layout]
    layers = next(each for each in count() if layer.format(each) not in shapes)
    rows, width = shapes[tokens]
    projected = shapes.get(projection, (width, width))
    return {
        "vocab_size": rows, "hidden_size": width, "max_position_embeddings": shapes[positions][0],
        "intermediate_size": shapes[layer.format(0)][0], "num_hidden_layers": layers - tower.unused,
        "num_attention_heads": max(1, width // HEAD), "hidden_act": tower.activation,
        "projection_dim": projected[1 if tower.layout == "openclip" else 0],
        "bos_token_id": rows - 2, "eos_token_id": rows - 1, "pad_token_id": 1,
    }  # fmt: skip
