"""A text model that can read and a vision tower that can see become one model."""

from functools import partial
from pathlib import Path

import torch
from transformers import AutoConfig, PretrainedConfig

from llmga.errors import UserError
from llmga.llava import checkpoints, towers
from llmga.llava.backbones import published_type
from llmga.llava.generation_prompt import END, START
from llmga.llava.mllm import Mllm
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.paths import find_checkpoint
from llmga.llava.published import DEFAULT_CONTEXT, make_config
from llmga.llava.templates import TEMPLATES
from llmga.llava.vocabulary import add_special_tokens, load_tokenizer, stop_ids
from llmga.llava.weights import read_text_model, read_tower


def new_mllm(
    text_model_folder: str | Path,
    vision_tower_folder: str | Path,
    *,
    projector_type: str = "mlp2x_gelu",
    select_layer: int = -2,
    keeps_class: bool = False,
    conv_mode: str,
) -> Mllm:
    """A text model that has learned to read and a vision tower that has learned to see, joined by a fresh projector.

    Everything is in single precision on the CPU; the projector follows torch's random state.

    Raises:
        UserError: for a folder or its config that is missing, a text model of a family without a row, a tower of
            another kind, or weights that cannot be read or do not fit.
    """
    TEMPLATES[conv_mode]
    text_folder, tower_folder = find_checkpoint(text_model_folder), find_checkpoint(vision_tower_folder)
    joined = partial(make_config, projector_type=projector_type, select_layer=select_layer, keeps_class=keeps_class)
    seeing = towers.read_tower_config(tower_folder)
    joined(read_text_config(text_folder), seeing)  # complains before gigabytes are read
    pictures = towers.image_processor(tower_folder, seeing)
    tokenizer = load_tokenizer(text_folder)
    text, tower = read_text_model(text_folder), read_tower(tower_folder, seeing, torch.float32)
    config = joined(text.config, tower.config)
    model = LlmgaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.lm_head.load_state_dict(text.lm_head.state_dict())
    resize_vocabulary(model, len(tokenizer))
    mllm = Mllm(
        model=model.eval(),
        tokenizer=tokenizer,
        image_processor=pictures,
        conv_mode=conv_mode,
        context_length=DEFAULT_CONTEXT,
        stop_ids=stop_ids(text_folder, tokenizer, TEMPLATES[conv_mode]),
    )
    mllm.word_boundary = mllm.backbone.word_boundary  # what is trained from here on is served as trained
    return mllm


def read_text_config(folder: Path) -> PretrainedConfig:
    """How a plain language model is built.

    Raises:
        UserError: when its family has no row.
    """
    published_type(checkpoints.read_json(folder, "config.json").get("model_type", ""))
    return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def resize_vocabulary(model: LlmgaForConditionalGeneration, tokens: int) -> None:
    """Give every token of the tokenizer a row; a new one is the mean of the others.  Surplus rows stay unsaid."""
    rows = model.config.text_config.vocab_size
    model.config.spoken_rows = tokens
    if tokens <= rows:
        return
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        _grow(layer, tokens)
    if model.config.tie_word_embeddings:
        model.get_output_embeddings().weight = model.get_input_embeddings().weight
    model.config.text_config.vocab_size = tokens
    model.config.image_token_index = tokens  # stays outside the vocabulary


@torch.no_grad()
def add_prompt_tags(mllm: Mllm) -> None:
    """Give the two tags of a generation prompt tokens of their own, as the models of 2023 have them.

    Their rows are the mean of all others; where the tokenizer has the tags already, nothing changes.
    """
    before = len(mllm.tokenizer)
    add_special_tokens(mllm.tokenizer, [START, END])
    if len(mllm.tokenizer) > before:
        resize_vocabulary(mllm.model, len(mllm.tokenizer))
        for layer in (mllm.model.get_input_embeddings(), mllm.model.get_output_embeddings()):
            rows = layer.weight
            rows[before : len(mllm.tokenizer)] = rows[:before].float().mean(0).to(rows.dtype)


def _grow(layer: torch.nn.Embedding | torch.nn.Linear, rows: int) -> None:
    """Raises: UserError for a quantised layer, whose rows cannot be copied."""
    old = layer.weight.data
    if not old.is_floating_point():
        raise UserError("a quantised model cannot get new tokens; load it without --load-8bit or --load-4bit once.")
    mean = old.float().mean(0, keepdim=True).to(old.dtype)
    layer.weight = torch.nn.Parameter(torch.cat([old, mean.expand(rows - len(old), -1)]))
    for name in ("num_embeddings", "out_features"):
        if hasattr(layer, name):
            setattr(layer, name, rows)
