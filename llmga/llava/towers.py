"""The vision tower that a checkpoint names: how it is built and how it wants its pictures."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, CLIPImageProcessorPil, CLIPVisionConfig

from llmga.errors import UserError
from llmga.llava.places import ROOTS

OWN_TOWER = "vision_tower"  # the subfolder of our saves that says how the embedded vision tower is built

_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
KNOWN_TOWERS: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14-336": {**_LARGE, "patch_size": 14, "image_size": 336, "projection_dim": 768},
    "openai/clip-vit-large-patch14": {**_LARGE, "patch_size": 14, "image_size": 224, "projection_dim": 768},
    "openai/clip-vit-base-patch16": {**_BASE, "patch_size": 16, "image_size": 224, "projection_dim": 512},
    "openai/clip-vit-base-patch32": {**_BASE, "patch_size": 32, "image_size": 224, "projection_dim": 512},
}


def find_tower(name: str, checkpoint: Path) -> Path | None:
    """The folder that `mm_vision_tower` means: inside or beside the checkpoint, a path, or the hub name's last part
    below checkpoints/; None when it is not on this machine."""
    roots = (root / Path(name).name for root in ROOTS)
    for candidate in (checkpoint / name, checkpoint.parent / name, Path(name), *roots):
        if (candidate / "config.json").is_file():
            return candidate
    return None


def tower_config(name: str, checkpoint: Path) -> CLIPVisionConfig:
    """How the vision tower is built; its weights are the copy inside the checkpoint.

    Raises: UserError for a name that is neither a folder nor known.
    """
    folder = find_tower(name, checkpoint)
    if folder is not None:
        config = AutoConfig.from_pretrained(folder)
        return getattr(config, "vision_config", config)
    if name in KNOWN_TOWERS:
        return CLIPVisionConfig(**KNOWN_TOWERS[name])
    known = ", ".join(KNOWN_TOWERS)
    raise UserError(
        f"vision tower {name!r} of checkpoint {str(checkpoint)!r} is neither a folder nor a known name ({known}); "
        f"put it beside the checkpoint as {str(checkpoint.parent / name)!r}."
    )


def image_processor(folder: Path | None, config: CLIPVisionConfig) -> CLIPImageProcessorPil:
    """The processor saved in the tower's folder, or CLIP's own at the tower's size."""
    if folder is not None and (folder / "preprocessor_config.json").is_file():
        return CLIPImageProcessorPil.from_pretrained(folder)
    side = config.image_size
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
