"""The published layout <-> ours: the only room that knows old key names and flat configs."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, PretrainedConfig

from llmga.errors import UserError
from llmga.llava.backbones import BACKBONES, Settings, published_type
from llmga.llava.modeling import LlmgaConfig
from llmga.llava.towers import OWN_TOWER, tower_config

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
DEFAULT_CONTEXT = 2048

_TEXT_AND_TOWER = (
    ("model.vision_tower.vision_tower.vision_model.", "model.vision_tower."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.layers.", "model.language_model.layers."),
    ("model.norm.", "model.language_model.norm."),
)
_STOCK_PROJECTOR = (
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
)
_OWN_PROJECTOR = (("model.mm_projector.", "model.multi_modal_projector."),)


def key_table(projector_type: str) -> tuple[tuple[str, str], ...]:
    """Pairs of prefixes, published -> ours, that rename every weight of a model with this projector."""
    return _TEXT_AND_TOWER + (_STOCK_PROJECTOR if projector_type == "mlp2x_gelu" else _OWN_PROJECTOR)


def published_name(key: str, projector_type: str) -> str:
    """The name that one of our weights has in a published file; lm_head is the same in both."""
    for published, ours in key_table(projector_type):
        if key.startswith(ours):
            return published + key.removeprefix(ours)
    return key


def published_weights(
    weights: dict[str, torch.Tensor], config: LlmgaConfig, dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """Our state dict under published names; a tied output layer is left out, as published files do."""
    tied = config.tie_word_embeddings
    return {
        published_name(key, config.projector_type): tensor.detach().to("cpu", dtype).contiguous()
        for key, tensor in weights.items()
        if not (tied and key == "lm_head.weight")
    }


def own_name(key: str, projector_type: str) -> str:
    """The name that a published weight has in our model."""
    for published, ours in key_table(projector_type):
        if key.startswith(published):
            return ours + key.removeprefix(published)
    return key


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of one .safetensors or .bin file, on the CPU.

    Raises: UserError when it is missing or cannot be read.
    """
    if not file.is_file():
        raise UserError(f"{str(file.parent)!r} lacks {file.name}; give the complete result of a training.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, UnpicklingError, RuntimeError) as problem:
        reason = str(problem).splitlines()[0]
        raise UserError(f"{str(file)!r} cannot be read ({reason}); download or save it again.") from None


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, in one file or in shards, safetensors first.

    Raises: UserError when there are none or one cannot be read.
    """
    for kind in ("*.safetensors", "pytorch_model*.bin"):
        if files := sorted(folder.glob(kind)):
            return {key: tensor for file in files for key, tensor in read_tensors(file).items()}
    raise UserError(
        f"checkpoint {str(folder)!r} lacks its weights (one of {', '.join(WEIGHTS)}); download or save it again."
    )


def read_json(folder: Path, name: str) -> Settings:
    """Raises: UserError when the file is missing or is no JSON object."""
    file = folder / name
    if not file.is_file():
        raise UserError(f"checkpoint {str(folder)!r} lacks {name}; download or save it again.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{str(file)!r} is not a JSON object; download or save it again.")
    return content


def require_files(folder: Path) -> None:
    """Raises: UserError that names what the folder lacks."""
    for kind, names in (("weights", WEIGHTS), ("tokenizer", TOKENIZERS)):
        if not any((folder / name).is_file() for name in names):
            raise UserError(
                f"checkpoint {str(folder)!r} lacks its {kind} (one of {', '.join(names)}); download or save it again."
            )
    for index in folder.glob("*.index.json"):
        for shard in sorted(set(read_json(folder, index.name).get("weight_map", {}).values())):
            if not (folder / shard).is_file():
                raise UserError(
                    f"checkpoint {str(folder)!r} lacks {shard}, which {index.name} lists; download it again."
                )


def read_config(published: Settings, checkpoint: Path) -> LlmgaConfig:
    """A flat published config as one of ours.

    Raises: UserError for a model_type without a row, a missing or an unknown vision tower.
    """
    backbone = BACKBONES[published.get("model_type", "")]
    if "mm_vision_tower" not in published:
        raise UserError(f"the config of {str(checkpoint)!r} names no mm_vision_tower; it is no picture-seeing model.")
    text = backbone.text_config(published)
    return make_config(
        text,
        tower_config(published["mm_vision_tower"], checkpoint),
        projector_type=published.get("mm_projector_type", "linear"),
        select_layer=published.get("mm_vision_select_layer", -2),
        keeps_class=keeps_class(published),
    )


def keeps_class(published: Settings) -> bool:
    """Whether the projector also reads the tower's class position."""
    return published.get("mm_vision_select_feature", "patch") == "cls_patch"


def context_length(published: Settings) -> int:
    """The longest sequence in tokens."""
    keys = ("max_sequence_length", "tokenizer_model_max_length")
    return next((published[key] for key in keys if published.get(key)), DEFAULT_CONTEXT)


def make_config(
    text: Any, vision: CLIPVisionConfig, *, projector_type: str, select_layer: int, keeps_class: bool = False
) -> LlmgaConfig:
    """Our config; the image token is the first id after the vocabulary's rows.

    Raises: UserError when the text model's family has no row.
    """
    backbone = BACKBONES[published_type(text.model_type)]
    return LlmgaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=text.vocab_size,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2 + keeps_class,
        vision_feature_layer=select_layer,
        vision_feature_select_strategy="full" if keeps_class else "default",
        projector_type=projector_type,
        picture_scale=backbone.picture_scale(text),
        tie_word_embeddings=text.tie_word_embeddings,
    )


def published_config(
    config: LlmgaConfig,
    *,
    conv_mode: str,
    context_length: int,
    dtype: torch.dtype,
    marks_pictures: bool = False,
    word_boundary: bool = False,
    image_aspect: str = "stretch",
) -> Settings:
    """Our config as a flat published one, with `conversation_mode` added."""
    model_type = published_type(config.text_config.model_type)
    library = PretrainedConfig().to_dict()  # what every config of the library carries says nothing about this model
    text = {key: value for key, value in config.text_config.to_dict().items() if library.get(key, ...) != value}
    rope = dict(text.pop("rope_parameters", None) or {})
    text |= {"rope_theta": rope.pop("rope_theta", 10000.0)}
    text |= {"rope_scaling": rope if rope.get("rope_type", "default") != "default" else None}
    for bookkeeping in ("dtype", "layer_types"):
        text.pop(bookkeeping, None)
    return (
        text
        | {
            "model_type": model_type,
            "architectures": [BACKBONES[model_type].architecture],
            "torch_dtype": str(dtype).removeprefix("torch."),
            "tie_word_embeddings": config.tie_word_embeddings,
            "use_mm_proj": True,
            "mm_vision_tower": OWN_TOWER,
            "mm_hidden_size": config.vision_config.hidden_size,
            "mm_projector_type": config.projector_type,
            "mm_vision_select_layer": config.vision_feature_layer,
            "mm_vision_select_feature": "cls_patch" if config.vision_feature_select_strategy == "full" else "patch",
            "mm_patch_merge_type": "flat",
            "mm_use_im_start_end": marks_pictures,
            "mm_use_im_patch_token": False,
            "image_aspect_ratio": "pad" if image_aspect == "pad" else "resizesquare",
            "tokenizer_padding_side": "right",
            "tokenizer_model_max_length": context_length,
            "conversation_mode": conv_mode,
        }
        | ({"tokenizer_word_boundary": True} if word_boundary else {})
    )
