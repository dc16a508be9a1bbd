"""transformers' own LLaVA layout of our models, so that any engine which knows LLaVA can serve them.

What the stock model lacks is written into its weights: the picture scale goes into the projector's last layer, a
one-layer projector is followed by the identity, and the image token, which needs a row there, is the mean of all rows
(so it is never the likeliest word).  Rows beyond the tokenizer are left out.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerBase

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.mllm import Mllm
from llmga.llava.modeling import LlmgaConfig

FIRST, LAST = (f"model.multi_modal_projector.linear_{number}" for number in (1, 2))
_OWN = "model.multi_modal_projector."
_ROWS = ("model.language_model.embed_tokens.weight", "lm_head.weight")


def save_stock(mllm: Mllm, folder: str | Path) -> None:
    """Write a folder that a plain `LlavaForConditionalGeneration.from_pretrained` opens.

    Raises: UserError for a projector of more than two layers, which that class does not have.
    """
    folder = Path(folder)
    tokenizer = _copied(mllm, folder)
    image_token = tokenizer.convert_tokens_to_ids(IMAGE_MARKER)
    config = _stock_config(mllm.model.config, image_token, len(tokenizer))
    weights = _stock_weights(mllm, len(tokenizer))
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    config.conversation_mode = mllm.conv_mode
    model.generation_config.eos_token_id = sorted(mllm.stop_ids)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    mllm.image_processor.save_pretrained(folder)


def _copied(mllm: Mllm, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer with the image token, saved there and opened again so that the model's own stays as it is."""
    mllm.tokenizer.save_pretrained(folder)
    tokenizer = type(mllm.tokenizer).from_pretrained(folder)
    tokenizer.add_tokens([IMAGE_MARKER], special_tokens=True)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _stock_config(config: LlmgaConfig, image_token: int, rows: int) -> LlavaConfig:
    text = type(config.text_config).from_dict(config.text_config.to_dict() | {"vocab_size": rows})
    return LlavaConfig(
        text_config=text,
        vision_config=config.vision_config,
        image_token_index=image_token,
        image_seq_length=config.image_seq_length,
        projector_hidden_act="gelu" if config.projector_type == "mlp2x_gelu" else "linear",
        vision_feature_layer=config.vision_feature_layer,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        tie_word_embeddings=config.tie_word_embeddings,
    )


def _stock_weights(mllm: Mllm, rows: int) -> dict[str, Tensor]:
    own, config = mllm.model.state_dict(), mllm.model.config
    weights = {key: tensor.detach().cpu() for key, tensor in own.items() if not key.startswith(_OWN)}
    weights |= _two_layers({key: tensor.cpu() for key, tensor in own.items() if key.startswith(_OWN)}, config)
    for key in (f"{LAST}.weight", f"{LAST}.bias"):
        weights[key] = weights[key] * config.picture_scale
    for key in _ROWS:
        weights[key] = _with_image_row(weights[key][: len(mllm.tokenizer)], rows)
    return {key: tensor.contiguous() for key, tensor in weights.items()}


def _two_layers(own: dict[str, Tensor], config: LlmgaConfig) -> dict[str, Tensor]:
    """Any projector without more than two layers as two, with or without GELU between."""
    kind = config.projector_type
    if kind == "mlp2x_gelu":
        return dict(own)
    if kind not in ("linear", "mlp1x_gelu"):
        raise UserError(f"projector {kind!r} has no place in transformers' LLaVA; use --to llmga.")
    weight, bias = (next(own[key] for key in own if key.endswith(name)) for name in ("weight", "bias"))
    same = torch.eye(len(weight), dtype=weight.dtype)
    return {
        f"{FIRST}.weight": weight,
        f"{FIRST}.bias": bias,
        f"{LAST}.weight": same,
        f"{LAST}.bias": torch.zeros_like(bias),
    }


def _with_image_row(table: Tensor, rows: int) -> Tensor:
    missing = rows - len(table)
    mean = table.float().mean(0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(missing, -1)])
