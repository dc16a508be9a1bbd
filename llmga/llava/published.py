"""What a published config.json says: read once, for every kind of checkpoint, and written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig

from llmga.errors import UserError
from llmga.llava import towers
from llmga.llava.backbones import BACKBONES, Backbone, ConfigDict, published_type
from llmga.llava.generation_prompt import END, START
from llmga.llava.mllm import PICTURE_MARKS
from llmga.llava.modeling import LlmgaConfig
from llmga.llava.paths import model_name_from_path
from llmga.llava.templates import TEMPLATES, conversation_mode
from llmga.llava.towers import OWN_TOWER, VisionConfig
from llmga.runtime import DTYPES

DEFAULT_CONTEXT = 2048
PATCH = "<im_patch>"

# What belongs to a training and not to its text model, so that a result says it for its base, too.
_OF_A_RESULT = (
    "mm_projector_type",
    "mm_vision_select",
    "mm_use_",
    "image_",
    "tokenizer_",
    "max_sequence_length",
    "taught_turns",
)


@dataclass(frozen=True)
class PublishedConfig:
    """How a checkpoint is used, as its config says beside the text model's sizes.

    Attributes:
        folder: where it stands.
        config_dict: the whole flat config.
        backbone: the row of its model_type.
        vision_tower: a path or a name of the hub.
        projector_type: as `make_config` takes it.
        select_layer: as `make_config` takes it.
        keeps_class: as `make_config` takes it.
        context_length: the longest sequence in tokens, pictures included.
        image_aspect: how a picture becomes a square, a row of `mllm.ASPECTS`.
        marks_pictures: each picture stands between <im_start> and <im_end>.
        word_boundary: prompts are encoded with the word-boundary token of training.
        taught_turns: how many turns a conversation has at most that it is shown; None is all that fit.
        added_tokens: what opening it adds where its tokenizer lacks them, in this order.
    """

    folder: Path
    config_dict: ConfigDict
    backbone: Backbone
    vision_tower: str
    projector_type: str
    select_layer: int
    keeps_class: bool
    context_length: int
    image_aspect: str
    marks_pictures: bool
    word_boundary: bool
    taught_turns: int | None
    added_tokens: tuple[str, ...]

    @classmethod
    def from_dict(cls, config_dict: ConfigDict, folder: Path) -> "PublishedConfig":
        """Read a flat config.

        Raises:
            UserError: for a model_type without a row, no vision tower, or a way of looking that is not ours.
        """
        backbone = BACKBONES[config_dict.get("model_type", "")]
        if not isinstance(tower := config_dict.get("mm_vision_tower"), str) or not tower:
            raise UserError(f"the config of {str(folder)!r} names no mm_vision_tower; it is no picture-seeing model.")
        marks = bool(config_dict.get("mm_use_im_start_end"))
        return cls(
            folder=folder,
            config_dict=config_dict,
            backbone=backbone,
            vision_tower=tower,
            projector_type=config_dict.get("mm_projector_type", "linear"),
            select_layer=config_dict.get("mm_vision_select_layer", -2),
            keeps_class=config_dict.get("mm_vision_select_feature", "patch") == "cls_patch",
            context_length=config_dict.get("max_sequence_length")
            or config_dict.get("tokenizer_model_max_length")
            or DEFAULT_CONTEXT,
            image_aspect=_aspect(config_dict.get("image_aspect_ratio")),
            marks_pictures=marks,
            word_boundary=bool(config_dict.get("tokenizer_word_boundary")),
            taught_turns=_taught_turns(config_dict.get("taught_turns"), folder),
            added_tokens=(
                *((PATCH,) if config_dict.get("mm_use_im_patch_token", True) else ()),
                *(PICTURE_MARKS if marks else ()),
                *((START, END) if config_dict.get("mm_use_output_start_end") else ()),
            ),
        )

    def to_model_config(self) -> LlmgaConfig:
        """Our config of the same model.

        Raises:
            UserError: for an unknown vision tower, or a layer that it does not have.
        """
        return make_config(
            self.backbone.text_config(self.config_dict),
            towers.tower_config(self.vision_tower, self.folder),
            projector_type=self.projector_type,
            select_layer=self.select_layer,
            keeps_class=self.keeps_class,
        )

    def tower_folder(self) -> Path | None:
        """The vision tower's own folder, where it is on this machine."""
        return towers.find_tower(self.vision_tower, self.folder)

    def mllm_fields(self) -> dict[str, Any]:
        """The attributes of `Mllm` that the config decides."""
        names = ("context_length", "image_aspect", "marks_pictures", "word_boundary", "taught_turns")
        return {name: getattr(self, name) for name in names}


def trained_upon(result: ConfigDict, base: ConfigDict) -> ConfigDict:
    """A whole checkpoint's config as the result of a training upon it is used: text model and tower are the base's."""
    return base | {key: value for key, value in result.items() if key.startswith(_OF_A_RESULT)}


def mode_of(config_dict: ConfigDict, folder: Path, asked: str | None = None) -> str:
    """The conversation mode that was asked for, that the config names, or that the folder's name tells.

    Raises:
        UserError: for an unknown one.
    """
    mode = asked or config_dict.get("conversation_mode") or conversation_mode(model_name_from_path(folder))
    TEMPLATES[mode]
    return mode


def dtype_of(config_dict: ConfigDict) -> torch.dtype:
    """The number format that the weights are said to be in, half precision where it is none of ours."""
    named = config_dict.get("torch_dtype") or config_dict.get("dtype")
    return {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}.get(str(named), torch.float16)


def _aspect(named: str | None) -> str:
    """Raises: UserError for anyres, whose several crops per picture no published model uses."""
    if isinstance(named, str) and named.startswith("anyres"):
        raise UserError(f"image_aspect_ratio {named!r} is not supported; use a checkpoint that sees one square.")
    return "pad" if named == "pad" else "stretch"


def _taught_turns(said: Any, folder: Path) -> int | None:
    """Raises: UserError for what is no number of turns."""
    if said is not None and (type(said) is not int or said < 1):
        raise UserError(
            f"the config of {str(folder)!r} says taught_turns {said!r}; use a whole number from 1, or none."
        )
    return said


def make_config(
    text: PretrainedConfig,
    vision: VisionConfig,
    *,
    projector_type: str,
    select_layer: int | list[int],
    keeps_class: bool = False,
) -> LlmgaConfig:
    """Our config; the image token is the first id after the vocabulary's rows.

    Raises:
        UserError: when the text model's family has no row, or the tower has no such layer.
    """
    backbone, depth = BACKBONES[published_type(text.model_type)], vision.num_hidden_layers
    if not isinstance(select_layer, int) or not -1 - depth <= select_layer <= depth:
        raise UserError(f"vision layer {select_layer!r} is not one of the tower's; give {-1 - depth} to {depth}.")
    drops_class = towers.kind_of(vision).class_positions and not keeps_class
    return LlmgaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=text.vocab_size,
        image_seq_length=towers.positions(vision, keeps_class=keeps_class),
        vision_feature_layer=select_layer,
        vision_feature_select_strategy="default" if drops_class else "full",
        projector_type=projector_type,
        picture_scale=backbone.picture_scale(text),
        tie_word_embeddings=text.tie_word_embeddings,
    )


def keeps_class(config: LlmgaConfig) -> bool:
    """Whether the projector also reads the tower's class position."""
    has_one = towers.kind_of(config.vision_config).class_positions > 0
    return has_one and config.vision_feature_select_strategy == "full"


def published_config(
    config: LlmgaConfig,
    *,
    conv_mode: str | None,
    context_length: int,
    dtype: torch.dtype,
    marks_pictures: bool = False,
    word_boundary: bool = False,
    image_aspect: str = "stretch",
    taught_turns: int | None = None,
) -> ConfigDict:
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
            "mm_vision_select_feature": "cls_patch" if keeps_class(config) else "patch",
            "mm_patch_merge_type": "flat",
            "mm_use_im_start_end": marks_pictures,
            "mm_use_im_patch_token": False,
            "image_aspect_ratio": "pad" if image_aspect == "pad" else "resizesquare",
            "tokenizer_padding_side": "right",
            "tokenizer_model_max_length": context_length,
            "conversation_mode": conv_mode,
        }
        | ({"tokenizer_word_boundary": True} if word_boundary else {})
        | ({"taught_turns": taught_turns} if taught_turns else {})
    )
