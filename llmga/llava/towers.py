"""The vision tower that a checkpoint names: how it is built and how it wants its pictures."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    PretrainedConfig,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from llmga.errors import UserError
from llmga.llava.checkpoints import read_json
from llmga.model_directories import in_model_directories

NAFLEX = "siglip2_vision_model"  # reads pictures of any shape; at its own square it is SigLIP
OWN_TOWER = "vision_tower"  # the subfolder of our saves that says how the embedded vision tower is built

VisionConfig = CLIPVisionConfig | SiglipVisionConfig
ImageProcessor = CLIPImageProcessorPil | SiglipImageProcessorPil


@dataclass(frozen=True)
class Tower:
    """A kind of vision tower.

    Attributes:
        config: class of transformers.
        processor: class of transformers, whose defaults are what all published towers of the kind were trained with,
            but for the size.
        model: the name of transformers' class, which is imported where weights are read.
        square: the processor's settings for a side in pixels.
        whole_type: the model_type of folders that also hold the text half.
        class_positions: positions in front of the picture's own.
        unseen: parts of the model that only its pooled output needs.
    """

    config: type[CLIPVisionConfig] | type[SiglipVisionConfig]
    processor: type[CLIPImageProcessorPil] | type[SiglipImageProcessorPil]
    model: str
    square: Callable[[int], dict[str, Any]]
    whole_type: str
    class_positions: int
    unseen: tuple[str, ...]


def _crop(side: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def _stretch(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


TOWERS: dict[str, Tower] = {
    "clip_vision_model": Tower(
        config=CLIPVisionConfig,
        processor=CLIPImageProcessorPil,
        model="CLIPVisionModel",
        square=_crop,
        whole_type="clip",
        class_positions=1,
        unseen=("post_layernorm.",),
    ),
    "siglip_vision_model": Tower(
        config=SiglipVisionConfig,
        processor=SiglipImageProcessorPil,
        model="SiglipVisionModel",
        square=_stretch,
        whole_type="siglip",
        class_positions=0,
        unseen=("post_layernorm.", "vision_tower.head."),
    ),
}

_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
KNOWN_TOWERS: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14-336": {**_LARGE, "patch_size": 14, "image_size": 336, "projection_dim": 768},
    "openai/clip-vit-large-patch14": {**_LARGE, "patch_size": 14, "image_size": 224, "projection_dim": 768},
    "openai/clip-vit-base-patch16": {**_BASE, "patch_size": 16, "image_size": 224, "projection_dim": 512},
    "openai/clip-vit-base-patch32": {**_BASE, "patch_size": 32, "image_size": 224, "projection_dim": 512},
    "google/siglip-so400m-patch14-384": {**_SO400M, "patch_size": 14, "image_size": 384},
    "google/siglip-so400m-patch14-224": {**_SO400M, "patch_size": 14, "image_size": 224},
    "google/siglip-large-patch16-384": {**_LARGE, "patch_size": 16, "image_size": 384},
    "google/siglip-base-patch16-224": {**_BASE, "patch_size": 16, "image_size": 224},
    "google/siglip2-so400m-patch14-384": {**_SO400M, "patch_size": 14, "image_size": 384},
    "google/siglip2-so400m-patch14-224": {**_SO400M, "patch_size": 14, "image_size": 224},
    "google/siglip2-so400m-patch16-512": {**_SO400M, "patch_size": 16, "image_size": 512},
    "google/siglip2-so400m-patch16-384": {**_SO400M, "patch_size": 16, "image_size": 384},
    "google/siglip2-so400m-patch16-256": {**_SO400M, "patch_size": 16, "image_size": 256},
    "google/siglip2-large-patch16-512": {**_LARGE, "patch_size": 16, "image_size": 512},
    "google/siglip2-large-patch16-384": {**_LARGE, "patch_size": 16, "image_size": 384},
    "google/siglip2-base-patch16-384": {**_BASE, "patch_size": 16, "image_size": 384},
    "google/siglip2-base-patch16-224": {**_BASE, "patch_size": 16, "image_size": 224},
}


def kind_of(config: PretrainedConfig) -> Tower:
    """The row of a tower's config."""
    return TOWERS[config.model_type]


def positions(config: VisionConfig, *, keeps_class: bool) -> int:
    """How many the projector reads of each picture."""
    grid = side_in_pixels(config.image_size) // side_in_pixels(config.patch_size)
    return grid**2 + keeps_class * kind_of(config).class_positions


def side_in_pixels(size: int | Sequence[int] | None) -> int:
    """A side that the library lets configs state as a pair, too; all known towers see squares.

    Raises:
        UserError: for anything but a number.
    """
    if not isinstance(size, int):
        raise UserError(f"vision towers see squares, whose side is a number; {size!r} is none.")
    return size


def find_tower(name: str, checkpoint: Path) -> Path | None:
    """The folder that `mm_vision_tower` means: inside or beside the checkpoint, a path, or the hub name's last part
    below checkpoints/; None when it is not on this machine."""
    for candidate in (checkpoint / name, checkpoint.parent / name, Path(name), *in_model_directories(Path(name).name)):
        if (candidate / "config.json").is_file():
            return candidate
    return None


def tower_config(name: str, checkpoint: Path) -> VisionConfig:
    """How the vision tower is built; its weights are the copy inside the checkpoint.

    Raises:
        UserError: for a name that is neither a folder nor known, or a tower of another kind.
    """
    folder = find_tower(name, checkpoint)
    if folder is not None:
        return read_tower_config(folder)
    if name in KNOWN_TOWERS:
        return known_tower(name)
    known = ", ".join(KNOWN_TOWERS)
    raise UserError(
        f"vision tower {name!r} of checkpoint {str(checkpoint)!r} is neither a folder nor a known name ({known}); "
        f"put it beside the checkpoint as {str(checkpoint.parent / name)!r}."
    )


def known_tower(name: str) -> VisionConfig:
    """The config of a row of KNOWN_TOWERS."""
    kind = next(row for row in TOWERS.values() if name.partition("/")[2].startswith(row.whole_type))
    return kind.config(**KNOWN_TOWERS[name])


def read_tower_config(folder: Path) -> VisionConfig:
    """What a tower's folder says; it may also hold the text half, or be a whole model of transformers' LLaVA.

    Raises:
        UserError: in one sentence that names what it is, for a tower that is none of TOWERS.
    """
    whole = read_json(folder, "config.json")
    own = whole.get("vision_config", whole)
    own = own if isinstance(own, dict) else {}
    by_whole = {row.whole_type: name for name, row in TOWERS.items()} | {"siglip2": NAFLEX}
    named = own.get("model_type") or by_whole.get(whole.get("model_type", ""), "")
    if named == NAFLEX:
        named, own = "siglip_vision_model", _at_its_square(own)
    if named not in TOWERS:
        raise _refused(folder, whole)
    try:
        return TOWERS[named].config.from_dict({**own, "model_type": named})
    except Exception as problem:  # the libraries' checks of a field raise errors of their own
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise UserError(f"the config of vision tower {str(folder)!r} is not understood ({reason}).") from None


def _at_its_square(own: dict[str, Any]) -> dict[str, Any]:
    """The config of a tower for any shape as that of one for squares, of as many patches as it has positions for."""
    rest = {name: value for name, value in own.items() if name != "num_patches"}
    return rest | {"image_size": isqrt(own.get("num_patches", 256)) * own.get("patch_size", 16)}


def _refused(folder: Path, config_dict: dict[str, Any]) -> UserError:
    kind = f"is of type {config_dict.get('model_type')!r}" if config_dict.get("model_type") else "names no model_type"
    return UserError(
        f"vision tower {str(folder)!r} {kind}, which cannot be used; give one of {', '.join(TOWERS)}, such as "
        "openai/clip-vit-large-patch14-336 or google/siglip-so400m-patch14-384."
    )


def image_processor(folder: Path | None, config: VisionConfig) -> ImageProcessor:
    """The processor saved in the tower's folder, or its kind's own at the tower's size.

    Raises:
        UserError: for one that cannot be read or makes pictures of another size.
    """
    kind = kind_of(config)
    if folder is None or not (folder / "preprocessor_config.json").is_file():
        return kind.processor(**kind.square(side_in_pixels(config.image_size)))
    file = folder / "preprocessor_config.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        square = kind.square(side_in_pixels(config.image_size)) if "max_num_patches" in said else {}  # of any shape
        processor = kind.processor.from_dict(said | square)
        side = _side(processor)
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise UserError(f"{str(file)!r} cannot be used ({type(problem).__name__}: {problem}); copy it again.") from None
    if side != (config.image_size, config.image_size):
        raise UserError(
            f"{str(file)!r} makes pictures of {side[1]}x{side[0]}, but the tower reads squares of {config.image_size}; "
            "copy the file that belongs to it."
        )
    return processor


def _side(processor: ImageProcessor) -> tuple[int, int]:
    """Height and width of what it makes of a square."""
    made = getattr(processor, "crop_size" if getattr(processor, "do_center_crop", False) else "size")
    return made["height"] or made["shortest_edge"], made["width"] or made["shortest_edge"]
