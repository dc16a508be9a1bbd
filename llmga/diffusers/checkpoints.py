"""Checkpoints of pipelines: found, and diffusers folders checked file by file before anything is loaded."""

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from llmga.diffusers.config_folders import is_config_folder
from llmga.diffusers.file_headers import BESIDE, GGUF, SUFFIXES, is_weight_file
from llmga.download import cached, fetch_pipeline, is_hub_id
from llmga.errors import UserError, reason
from llmga.model_directories import MODEL_DIRECTORIES, hint, in_model_directories, places
from llmga.weight_files import NOT_NEEDED, PROCESSORS, STEMS, choose, damaged, from_pretrained_options

LENT = ("unet", "vae")  # parts that may come from elsewhere
CHECKED = ("StableDiffusionPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionInstructPix2PixPipeline")
NOTHING_READY: Mapping[str, Any] = {}
DEFAULTS_FILE = "generation_defaults.json"
Opener = Callable[[torch.dtype], Any]  # number format -> a model on the CPU


def find_checkpoint(path: str | Path) -> Path:
    """A pipeline's folder or single file: as given, or by its name in a model directory, or fetched from the hub.

    Raises:
        UserError: when it is neither there nor on the hub.
    """
    found = list(places(path))
    for place in found:
        if place.is_dir():
            return _checked(place)
        if is_weight_file(place):
            return place
    if any(place.is_file() and place.suffix.lower() == GGUF for place in found):
        raise UserError(f"{str(path)!r} is a GGUF file, which holds a denoiser alone; {BESIDE} that model.")
    if found[0].exists():
        raise UserError(f"{str(path)!r} is a file; a diffusion checkpoint is a folder with a model_index.json, or a "
                        f"single file that ends with one of {', '.join(SUFFIXES)}.")  # fmt: skip
    return _from_hub(str(path))


def _checked(folder: Path) -> Path:
    """The folder, or the one single file in it.

    Raises:
        UserError: for a language model, and for several files of which any may be meant.
    """
    if (folder / "model_index.json").is_file():
        return folder
    if (folder / "config.json").is_file():
        raise UserError(f"{str(folder)!r} is no diffusion model (it lacks model_index.json); give a language model as "
                        "--model-path.")  # fmt: skip
    files = [file.name for file in sorted(folder.iterdir()) if is_weight_file(file)]
    if len(files) > 1:
        raise UserError(f"{str(folder)!r} has no model_index.json, but several files ({', '.join(files[:5])}); give "
                        "the path of one of them.")  # fmt: skip
    return folder / files[0] if files else folder


def _from_hub(name: str) -> Path:
    if Path(name).suffix.lower() in (*SUFFIXES, GGUF):
        raise UserError(f"the file {name!r} is not there{hint(name)} check the path, or give a diffusers folder.")
    if not is_hub_id(name):
        looked = ", ".join(MODEL_DIRECTORIES)
        raise UserError(f"diffusion checkpoint {name!r} is no local folder (looked here and in {looked}){hint(name)} "
                        "give the path of a diffusers folder, or owner/name of the hub.")  # fmt: skip
    short = name.partition("/")[2]
    found = next((folder for folder in in_model_directories(short) if folder.is_dir()), None) or cached(name)
    return found if found is not None and (found / "model_index.json").is_file() else fetch_pipeline(name)


def read_index(folder: Path) -> dict[str, Any]:
    """The pipeline's `model_index.json`, after every part that it names was seen to be there.

    Args:
        folder: of a checkpoint, or of its configurations alone (`config_folders`).

    Raises:
        UserError: naming the file or folder that is missing, or the part that asks for code of the folder.
    """
    index = read_json(folder / "model_index.json")
    if not isinstance(index.get("_class_name"), str | None):
        raise UserError(f"checkpoint {str(folder)!r} names its pipeline's class as {index['_class_name']!r}, code of "
                        "its own, which is never run.")  # fmt: skip
    for name, (library, kind) in _parts(index).items():
        _check_part(folder, name, library, kind)
        _check_code(folder / name, library, kind)
    return index


def _parts(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Library and class of each part that is loaded."""
    named = {name: value for name, value in index.items() if isinstance(value, list) and name not in NOT_NEEDED}
    return {name: tuple(value) for name, value in named.items() if [str, str] == [type(word) for word in value]}


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a diffusers folder.

    Raises:
        UserError: when it is missing or no JSON object.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {str(path.parent)!r} lacks {path.name}; copy the whole diffusers folder.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{str(path)!r} is no valid JSON object; copy the file again.")
    return value


def _check_part(folder: Path, name: str, library: str, kind: str) -> None:
    part = folder / name
    if is_config_folder(folder):
        return  # it was written here
    if not part.is_dir():
        lend = f", or give one as --{name}" if name in LENT else ""
        raise UserError(f"checkpoint {str(folder)!r} lacks the folder {name}/, which its model_index.json names; copy "
                        f"the whole diffusers folder{lend}.")  # fmt: skip
    if name.startswith("tokenizer"):
        kinds = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
        whole = any(all((part / file).is_file() for file in files) for files in kinds)
        lacking = None if whole else "tokenizer.json (or vocab.json and merges.txt)"
    else:
        config = "scheduler_config.json" if name == "scheduler" else "config.json"
        needed = name == "scheduler" or _has_weights(name, kind)
        lacking = config if needed and not (part / config).is_file() else None
    if lacking:
        raise UserError(f"checkpoint {str(folder)!r} lacks {name}/{lacking}; copy the whole diffusers folder.")
    if _has_weights(name, kind) and library in STEMS:
        choose(part, library)


def _has_weights(name: str, kind: str) -> bool:
    return not name.startswith(("tokenizer", "scheduler")) and not kind.endswith(PROCESSORS)


def _check_code(part: Path, library: str, kind: str) -> None:
    """Diffusers is asked not to run code, but does not hand that on to every part, which would ask on the terminal.

    Raises: UserError.
    """
    files = [file for file in part.glob("*.json") if file.name.endswith("config.json")]
    mapped = kind.startswith("Auto") and any("auto_map" in read_json(file) for file in files)
    known = library in STEMS or _is_pipeline_module(library)
    if mapped or not known or (part / f"{library}.py").is_file():
        raise UserError(f"{str(part)!r} asks to run code of its own ({library}.{kind}), which is never done.")


def _is_pipeline_module(name: str) -> bool:
    from diffusers import pipelines

    return name.isidentifier() and hasattr(pipelines, name)


def models_of(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Library and class of each part that has weights."""
    return {name: made for name, made in _parts(index).items() if made[0] in STEMS and _has_weights(name, made[1])}


def empty_parts(folder: Path) -> dict[str, Any]:
    """The models of a folder by name, on torch's meta device: shapes without weights.

    Args:
        folder: as `read_index` takes it.

    Raises:
        UserError: as `read_index`.
    """
    return {name: empty_part(folder / name, *made) for name, made in models_of(read_index(folder)).items()}


def empty_part(part: Path, library: str, kind: str) -> Any:
    """One of them."""
    from transformers import AutoConfig

    model_class = getattr(importlib.import_module(library), kind)
    with torch.device("meta"):
        if library == "diffusers":
            return model_class.from_config(model_class.load_config(part))
        return model_class(AutoConfig.from_pretrained(part, trust_remote_code=False))


def open_pipeline(
    folder: Path,
    pipeline_class: Any,
    dtype: torch.dtype,
    *,
    configs: Path | None = None,
    sources: Mapping[str, Opener] | None = None,
    tokenizers: Mapping[str, Any] | None = None,
    ready: Mapping[str, Any] = NOTHING_READY,
) -> Any:
    """Load a checked checkpoint on the CPU.

    Every part is opened in the variant in which its weights are there, whatever the others are.

    Args:
        configs: where configurations lie, if not in `folder`.
        sources: how the parts are opened whose weights are not below `folder`.
        tokenizers: those that are not below `configs`, or in place of them.
        ready: parts that are open already, by name.

    Raises:
        UserError: when a part is missing, damaged, or asks to run code.
    """
    from safetensors import SafetensorError

    configs, sources = configs or folder, sources or {}
    models = models_of(index := read_index(configs))
    try:
        opened = {
            name: sources[name](dtype) if name in sources else open_part(folder / name, *made, dtype)
            for name, made in models.items()
            if name not in ready
        }
        opened |= {name: _open_processor(folder / name, kind) for name, kind in _processors(index)}
        return pipeline_class.from_pretrained(
            configs, dtype=dtype, local_files_only=True, trust_remote_code=False, **opened, **ready,
            **(tokenizers or {}), **_unwanted(pipeline_class),
        )  # fmt: skip
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as problem:
        why = (damaged(folder) if folder.is_dir() else None) or reason(problem)[:300]
        raise UserError(f"checkpoint {str(folder)!r} cannot be opened: {why}.") from None


def open_part(part: Path, library: str, kind: str, dtype: torch.dtype, **options: Any) -> Any:
    """Open one model.

    Args:
        options: further ones of the library.

    Raises:
        UserError: for weights that the library would make up.
    """
    model, found = getattr(importlib.import_module(library), kind).from_pretrained(
        part,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **from_pretrained_options(part, library),
        **options,
    )
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"the weights in {str(part)!r} do not fit their config.json: {len(missing)} missing keys, "
                        f"such as {', '.join(missing[:3])}.")  # fmt: skip
    return model


def _processors(index: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and class of what prepares pictures for a language model that reads the prompt."""
    return [
        (name, kind)
        for name, (library, kind) in _parts(index).items()
        if library == "transformers" and kind.endswith("VLProcessor")
    ]


def _open_processor(part: Path, kind: str) -> Any:
    """One of them."""
    from llmga.processors import processor_class

    return processor_class(kind).from_pretrained(part, local_files_only=True, trust_remote_code=False)


def _unwanted(pipeline_class: Any) -> dict[str, Any]:
    """Parts that are never loaded: the safety checker blacks out pictures and judges no toy world."""
    if pipeline_class.__name__ in CHECKED:
        return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return {}
