"""A model as its folder describes it, without its weights: enough to encode, to count and to plan."""

from pathlib import Path

import torch
from transformers import AutoConfig

from llmga.llava import adapters, checkpoints, towers
from llmga.llava.assembling import fit_rows
from llmga.llava.loading import load_mllm
from llmga.llava.mllm import Mllm
from llmga.llava.modeling import LlmgaConfig, LlmgaForConditionalGeneration
from llmga.llava.places import find_checkpoint
from llmga.llava.stock_reading import is_stock
from llmga.llava.templates import TEMPLATES
from llmga.llava.vocabulary import add_picture_tokens, load_tokenizer


def blueprint(path: str | Path, base: str | Path | None = None, *, conv_mode: str) -> Mllm:
    """What `load_mllm` would open, on the meta device.

    A result that needs a base, and a folder of transformers' own layout, are read as a whole.

    Raises: UserError as `load_mllm` does.
    """
    folder = find_checkpoint(path)
    published = checkpoints.read_json(folder, "config.json")
    if base is not None or is_stock(published) or adapters.is_low_rank(folder):
        return load_mllm(path, base, device="cpu", dtype=torch.float32, conv_mode=conv_mode)
    mllm = _on_meta(checkpoints.read_config(published, folder), folder, conv_mode)
    add_picture_tokens(mllm.tokenizer, published)
    fit_rows(mllm.model, len(mllm.tokenizer))
    mllm.word_boundary = bool(published.get("tokenizer_word_boundary"))
    mllm.marks_pictures = bool(published.get("mm_use_im_start_end"))
    return mllm


def new_blueprint(
    text_model: str | Path, vision_tower: str | Path, *, projector_type: str, select_layer: int, conv_mode: str
) -> Mllm:
    """What `new_mllm` would make, on the meta device.

    Raises: UserError as `new_mllm` does.
    """
    text, tower = find_checkpoint(text_model), find_checkpoint(vision_tower)
    for folder in (text, tower):
        checkpoints.read_json(folder, "config.json")
    vision = AutoConfig.from_pretrained(tower)
    config = checkpoints.make_config(
        AutoConfig.from_pretrained(text),
        getattr(vision, "vision_config", vision),
        projector_type=projector_type,
        select_layer=select_layer,
    )
    mllm = _on_meta(config, text, conv_mode)
    fit_rows(mllm.model, len(mllm.tokenizer))
    mllm.word_boundary = mllm.backbone.word_boundary
    return mllm


def _on_meta(config: LlmgaConfig, tokenizer: Path, conv_mode: str) -> Mllm:
    TEMPLATES[conv_mode]
    return Mllm(
        model=without_weights(config),
        tokenizer=load_tokenizer(tokenizer),
        image_processor=towers.image_processor(None, config.vision_config),
        conv_mode=conv_mode,
        context_length=checkpoints.DEFAULT_CONTEXT,
    )


def without_weights(config: LlmgaConfig) -> LlmgaForConditionalGeneration:
    """The network with shapes only."""
    with torch.device("meta"):
        return LlmgaForConditionalGeneration(config)
