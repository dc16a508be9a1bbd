"""A model as its folder describes it, without its weights: enough to encode, to count and to plan."""

from dataclasses import replace
from pathlib import Path

import torch

from llmga.llava import adapters, towers
from llmga.llava.assembling import read_text_config, resize_vocabulary
from llmga.llava.loading import describe, load_mllm
from llmga.llava.mllm import Mllm
from llmga.llava.modeling import LlmgaConfig, LlmgaForConditionalGeneration
from llmga.llava.paths import find_checkpoint
from llmga.llava.published import DEFAULT_CONTEXT, make_config
from llmga.llava.templates import TEMPLATES
from llmga.llava.vocabulary import add_special_tokens, load_tokenizer, stop_ids


def load_empty_mllm(path: str | Path, base: str | Path | None = None, *, conv_mode: str) -> Mllm:
    """What `load_mllm` would open, on the meta device.

    A result that needs a base is read as a whole.

    Raises:
        UserError: as `load_mllm` does.
    """
    folder = find_checkpoint(path)
    if base is not None or adapters.is_low_rank(folder):
        return load_mllm(path, base, device="cpu", dtype=torch.float32, conv_mode=conv_mode)
    published = describe(folder)
    mllm = _on_meta(published.to_model_config(), published.folder, published.tower_folder(), conv_mode)
    add_special_tokens(mllm.tokenizer, published.added_tokens)
    resize_vocabulary(mllm.model, len(mllm.tokenizer))
    return replace(mllm, **published.mllm_fields())


def new_empty_mllm(
    text_model: str | Path, vision_tower: str | Path, *, projector_type: str, select_layer: int, conv_mode: str
) -> Mllm:
    """What `new_mllm` would make, on the meta device.

    Raises:
        UserError: as `new_mllm` does.
    """
    text, tower = find_checkpoint(text_model), find_checkpoint(vision_tower)
    config = new_config(text, tower, projector_type=projector_type, select_layer=select_layer)
    mllm = _on_meta(config, text, tower, conv_mode)
    resize_vocabulary(mllm.model, len(mllm.tokenizer))
    mllm.word_boundary = mllm.backbone.word_boundary
    return mllm


def new_config(text: Path, tower: Path, *, projector_type: str, select_layer: int) -> LlmgaConfig:
    """How a model of these two folders would be built.

    Raises:
        UserError: for a family or a kind of tower without a row, or a layer that the tower does not have.
    """
    vision = towers.read_tower_config(tower)
    towers.image_processor(tower, vision)
    return make_config(read_text_config(text), vision, projector_type=projector_type, select_layer=select_layer)


def _on_meta(config: LlmgaConfig, words: Path, tower: Path | None, conv_mode: str) -> Mllm:
    template, tokenizer = TEMPLATES[conv_mode], load_tokenizer(words)
    return Mllm(
        model=empty_model(config),
        tokenizer=tokenizer,
        image_processor=towers.image_processor(tower, config.vision_config),
        conv_mode=conv_mode,
        context_length=DEFAULT_CONTEXT,
        stop_ids=stop_ids(words, tokenizer, template),
    )


def empty_model(config: LlmgaConfig) -> LlmgaForConditionalGeneration:
    """The network with shapes only."""
    with torch.device("meta"):
        return LlmgaForConditionalGeneration(config)
