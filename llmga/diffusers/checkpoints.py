"""Diffusers folders: found, checked file by file before anything is loaded, and opened."""

import json
from pathlib import Path
from typing import Any

import torch

from llmga.download import cached, fetch_pipeline, is_hub_id
from llmga.errors import UserError

SHELVES = ("checkpoints/Inference", "checkpoints/Training")
NOT_NEEDED = ("safety_checker", "feature_extractor", "image_encoder")
DEFAULTS_FILE = "generation_defaults.json"


def find_checkpoint(path: str | Path) -> Path:
    """A pipeline's folder: as given, or by its bare name on the shelves, or fetched from the model hub.

    Raises: UserError.
    """
    for folder in (Path(path), *(Path(shelf, path) for shelf in SHELVES)):
        if folder.is_dir():
            return folder
    if Path(path).exists():
        raise UserError(f"{str(path)!r} is a file; a diffusion checkpoint is a folder with a model_index.json.")
    return _from_hub(str(path))


def _from_hub(name: str) -> Path:
    if not is_hub_id(name):
        raise UserError(f"diffusion checkpoint {name!r} is no local folder (looked here and in {', '.join(SHELVES)}); "
                        "give the path of a diffusers folder.")  # fmt: skip
    short = name.partition("/")[2]
    found = next((folder for shelf in SHELVES if (folder := Path(shelf, short)).is_dir()), None) or cached(name)
    return found if found is not None and (found / "model_index.json").is_file() else fetch_pipeline(name)


def read_index(folder: Path) -> dict[str, Any]:
    """The pipeline's `model_index.json`, after every part that it names was seen to be there.

    Raises: UserError naming the file or folder that is missing.
    """
    index = read_json(folder / "model_index.json")
    for name, value in index.items():
        if isinstance(value, list) and value and value[0] and name not in NOT_NEEDED:
            _check_part(folder, name)
    return index


def read_json(path: Path) -> dict[str, Any]:
    """Raises: UserError."""
    if not path.is_file():
        raise UserError(f"checkpoint {str(path.parent)!r} lacks {path.name}; copy the whole diffusers folder.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{str(path)!r} is no valid JSON object; copy the file again.")
    return value


def _check_part(folder: Path, name: str) -> None:
    part = folder / name
    if not part.is_dir():
        raise UserError(f"checkpoint {str(folder)!r} lacks the folder {name}/, which its model_index.json names.")
    if name.startswith("tokenizer"):
        kinds = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
        whole = any(all((part / file).is_file() for file in files) for files in kinds)
        lacking = None if whole else "tokenizer.json (or vocab.json and merges.txt)"
    elif name == "scheduler":
        lacking = None if (part / "scheduler_config.json").is_file() else "scheduler_config.json"
    else:
        lacking = _lacking_weights(part)
    if lacking:
        raise UserError(f"checkpoint {str(folder)!r} lacks {name}/{lacking}; copy the whole diffusers folder.")


def _lacking_weights(part: Path) -> str | None:
    """Name of the first file that a model folder lacks."""
    if not (part / "config.json").is_file():
        return "config.json"
    for index in part.glob("*.index*.json"):
        shards = sorted(set(read_json(index).get("weight_map", {}).values()))
        return next((shard for shard in shards if not (part / shard).is_file()), None)
    stem = "model" if part.name.startswith("text_encoder") else "diffusion_pytorch_model"
    return None if any(part.glob("*.safetensors")) or any(part.glob("*.bin")) else f"{stem}.safetensors"


def open_pipeline(folder: Path, pipeline_class: Any, dtype: torch.dtype) -> Any:
    """Load a checked folder on the CPU.

    Raises: UserError when a file is damaged.
    """
    from safetensors import SafetensorError

    read_index(folder)
    try:
        return pipeline_class.from_pretrained(
            folder,
            dtype=dtype,
            variant=_variant(folder),
            local_files_only=True,
            trust_remote_code=False,
            **_unwanted(pipeline_class),
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as problem:
        raise UserError(
            f"checkpoint {str(folder)!r} cannot be opened, a file may be damaged: {_first_line(problem)}"
        ) from None


def _unwanted(pipeline_class: Any) -> dict[str, Any]:
    """Parts that are never loaded: the safety checker blacks out pictures and judges no toy world."""
    if pipeline_class.__name__ in ("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"):
        return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return {}


def _variant(folder: Path) -> str | None:
    """`fp16` when the UNet (or transformer) is there only in files named so."""
    denoisers = [*folder.glob("unet/*"), *folder.glob("transformer/*")]
    names = [path.name for path in denoisers if path.suffix in (".safetensors", ".bin")]
    return "fp16" if names and all(".fp16." in name for name in names) else None


def _first_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:300]
