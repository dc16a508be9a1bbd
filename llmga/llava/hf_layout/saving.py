"""Write a model of ours as a folder of transformers' LLaVA layout."""

from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig, LlavaConfig, LlavaProcessor, PreTrainedTokenizerBase

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.hf_layout.processing import begins, hf_image_processor, hf_tokenizer, jinja_template
from llmga.llava.mllm import PICTURE_MARKS, Mllm
from llmga.llava.modeling import LlmgaConfig
from llmga.llava.saving import save_description
from llmga.llava.tokenization import token_id
from llmga.llava.towers import kind_of

KEPT = "llmga"  # the subfolder with the published config, the tokenizer as it was, and REST
REST = "rest.safetensors"  # weights that that layout has no place for, under their published names
PROJECTOR = "multi_modal_projector"
HUB_NAMES = (  # published prefix -> the one that the hub's LLaVA folders have; all libraries and engines read these
    ("model.vision_tower.vision_tower.vision_model.", "vision_tower.vision_model."),
    ("model.mm_projector.0.", f"{PROJECTOR}.linear_1."),
    ("model.mm_projector.2.", f"{PROJECTOR}.linear_2."),
    ("model.mm_projector.", f"{PROJECTOR}.linear_1."),
    ("model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
LAST = "model.mm_projector.2."
ROWS = ("model.embed_tokens.weight", "lm_head.weight")


def save_hf_layout(mllm: Mllm, folder: str | Path) -> None:
    """Write a folder that a plain `LlavaForConditionalGeneration` and `AutoProcessor` open.

    Raises:
        UserError: for a projector of more than two layers, which that class does not have, or a way to square pictures
            that its processor does not know.
    """
    folder, config = Path(folder), mllm.model.config
    if config.projector_type not in ("linear", "mlp1x_gelu", "mlp2x_gelu"):
        raise UserError(
            f"projector {config.projector_type!r} has no place in transformers' LLaVA, which has two layers; "
            "use --to llmga."
        )
    pictures = hf_image_processor(mllm)
    save_description(mllm, folder / KEPT, mllm.model.dtype)
    tokenizer = hf_tokenizer(mllm)
    weights = checkpoints.published_weights(mllm.model.state_dict(), config, None)
    hub, rest = _hf_weights(weights, config, len(mllm.tokenizer), len(tokenizer))
    save_torch_state_dict(hub, folder, metadata={"format": "pt"})
    save_file(rest, folder / KEPT / REST, metadata={"format": "pt"})
    image_token = token_id(tokenizer, IMAGE_MARKER)
    described = _hf_config(config, image_token, len(tokenizer), mllm.model.dtype)
    described.conversation_mode = mllm.conv_mode
    if mllm.taught_turns:
        described.taught_turns = mllm.taught_turns
    described.save_pretrained(folder)
    _generation_config(mllm, image_token).save_pretrained(folder)
    _processor(mllm, tokenizer, pictures).save_pretrained(folder)
    pictures.save_pretrained(folder)  # where older libraries look for it


def _hf_config(config: LlmgaConfig, image_token: int, rows: int, dtype: torch.dtype) -> LlavaConfig:
    text = config.text_config.to_dict() | {"vocab_size": rows}
    vision = {key: value for key, value in config.vision_config.to_dict().items() if key != "_name_or_path"}
    return LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=image_token,
        image_seq_length=config.image_seq_length,
        projector_hidden_act="gelu" if config.projector_type == "mlp2x_gelu" else "linear",
        # The library takes layer 0 for none, so that one is counted from the end.
        vision_feature_layer=config.vision_feature_layer or -1 - config.vision_config.num_hidden_layers,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        tie_word_embeddings=config.tie_word_embeddings,
        architectures=["LlavaForConditionalGeneration"],
        dtype=dtype,
    )


def _generation_config(mllm: Mllm, image_token: int) -> GenerationConfig:
    ends = {"eos_token_id": sorted(mllm.stop_ids), "pad_token_id": mllm.tokenizer.pad_token_id}
    return GenerationConfig(**ends, bos_token_id=mllm.tokenizer.bos_token_id, suppress_tokens=[image_token])


def _processor(mllm: Mllm, tokenizer: PreTrainedTokenizerBase, pictures: object) -> LlavaProcessor:
    vision = mllm.model.config.vision_config
    picture = IMAGE_MARKER.join(PICTURE_MARKS) if mllm.marks_pictures else IMAGE_MARKER
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=mllm.model.config.vision_feature_select_strategy,
        num_additional_image_tokens=kind_of(vision).class_positions,
        chat_template=jinja_template(mllm.template, begins=begins(mllm.tokenizer), picture=picture),
    )


def _hf_weights(
    weights: dict[str, Tensor], config: LlmgaConfig, tokens: int, rows: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Published weights -> the layout's, and what it has no place for."""
    hub, rest = dict(weights), dict[str, Tensor]()
    if config.projector_type != "mlp2x_gelu":
        hub |= _identity(next(tensor for key, tensor in weights.items() if "mm_projector" in key and tensor.ndim == 1))
    for key in (f"{LAST}weight", f"{LAST}bias"):
        if config.picture_scale != 1:
            rest |= {key: weights[key]} if key in weights else {}
            hub[key] = _exact(hub[key].double() * config.picture_scale, hub[key].dtype)
    for key in ROWS:
        if key in weights:
            rest |= {key: weights[key][tokens:].clone()}
            hub[key] = _with_image_row(weights[key][:tokens], rows)
    return {_hub_name(key): tensor.contiguous() for key, tensor in hub.items()}, rest


def _exact(values: Tensor, dtype: torch.dtype) -> Tensor:
    """In this number format where it loses nothing, else in single precision, which every reader converts."""
    short = values.to(dtype)
    return short if torch.equal(short.double(), values) else values.float()


def _identity(bias: Tensor) -> dict[str, Tensor]:
    same = torch.eye(len(bias), dtype=bias.dtype)
    return {f"{LAST}weight": same, f"{LAST}bias": torch.zeros_like(bias)}


def _with_image_row(table: Tensor, rows: int) -> Tensor:
    mean = table.float().mean(0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(rows - len(table), -1)])


def _hub_name(key: str) -> str:
    return next(hub + key.removeprefix(published) for published, hub in HUB_NAMES if key.startswith(published))
