"""What is loaded once: the inpainter beside a painter from words."""

import logging

import torch
from safetensors.torch import save_file

from llmga.assistant.loading import Models
from llmga.diffusers.families import INPAINTING
from llmga.serve.args import build_parser
from llmga.serve.parsed_args import model_spec

INPUT, INSIDE = "conv_in", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def opened_with(path, painter, layer):
    """The bundled painter and inpainter, with low-rank weights that were made for a layer of the painter's UNet."""
    shape = painter.denoiser.get_submodule(layer).weight.shape
    halves = torch.ones(2, *shape[1:]), torch.ones(shape[0], 2, *(1 for _ in shape[2:]))
    save_file(dict(zip((f"unet.{layer}.lora_{end}.weight" for end in "AB"), halves, strict=True)), path)
    args = build_parser("cli", "a test").parse_args(["--lora", f"{path}:0.5"])
    generator = Models.load(model_spec(args).checked()).pipeline
    return generator, generator.dedicated[INPAINTING]


def test_marked_parts_are_painted_with_the_low_rank_weights_too_or_it_is_told(tmp_path, caplog):
    args = build_parser("cli", "a test").parse_args([])
    plain = Models.load(model_spec(args).checked()).pipeline
    assert plain.added == plain.dedicated[INPAINTING].added == []

    painter, inpainter = opened_with(tmp_path / "inside.safetensors", plain, INSIDE)
    assert painter.added == inpainter.added
    assert [(each["kind"], each["weight"]) for each in inpainter.added] == [("lora", 0.5)]
    assert inpainter.denoiser.get_submodule(INSIDE).lora_A
    assert "marked parts" not in caplog.text

    with caplog.at_level(logging.WARNING):  # an inpainter's UNet takes more channels there
        painter, inpainter = opened_with(tmp_path / "input.safetensors", plain, INPUT)
    assert len(painter.added) == 1 and inpainter.added == []
    assert "marked parts are painted without low-rank weights" in caplog.text and "input.safetensors" in caplog.text
