"""What a folder of weights is, told by its JSON files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmga.diffusers.file_kinds import FOLDER, NOT_HERE, PAINTER, FileKind
from llmga.errors import UserError
from llmga.weight_files import NOT_NEEDED, PROCESSORS, STEMS, choose

Config = Mapping[str, Any]


@dataclass(frozen=True)
class FolderRow:
    """A row of the table of folders: the file that tells it, what stands there, and the kind."""

    file: str
    fits: Callable[[Config], bool]
    kind: FileKind


def _diffusers(*beginnings: str) -> Callable[[Config], bool]:
    return lambda config: str(config.get("_class_name", "")).startswith(beginnings)


def _transformers(*beginnings: str) -> Callable[[Config], bool]:
    return lambda config: str(next(iter(config.get("architectures") or []), "")).startswith(beginnings)


def _of_type(*types: str) -> Callable[[Config], bool]:
    return lambda config: config.get("model_type") in types


def _folder(name: str, said: str, opens: str, layout: str) -> FileKind:
    return FileKind(name, said, opens, layout=layout)


LANGUAGE = "give it as --model-path"
ROWS: tuple[FolderRow, ...] = (
    FolderRow("model_index.json", lambda config: True,
              _folder("checkpoint", "a whole pipeline of diffusers", PAINTER, "diffusers")),
    FolderRow("adapter_config.json", lambda config: "base_model_name_or_path" in config or "peft_type" in config,
              _folder("lora", "an adapter of peft", "give it as --lora, or that of a language model as --model-path "
                      "with --model-base", "peft")),
    FolderRow("config.json", lambda config: config.get("format") == "llmga-diffrir",
              _folder("restorer", "a DiffRIR restorer", "give it as --restorer-path or --upscaler-path", "llmga")),
    FolderRow("config.json", _diffusers("ControlNetUnion"),
              _folder("controlnet", "a ControlNet-Union", "give it as --controlnet", "diffusers")),
    FolderRow("config.json", _diffusers("ControlNet"),
              _folder("controlnet", "a ControlNet", "give it as --controlnet", "diffusers")),
    FolderRow("config.json", _diffusers("T2IAdapter"),
              _folder("adapter", "a T2I-Adapter", "give it as --controlnet", "diffusers")),
    FolderRow("config.json", _diffusers("UNet2DCondition"),
              _folder("unet", "a UNet", "give it as --unet beside an --sdmodel_id of its family", "diffusers")),
    FolderRow("config.json", _diffusers("Autoencoder", "AsymmetricAutoencoder"),
              _folder("vae", "a VAE", "give it as --vae", "diffusers")),
    FolderRow("config.json", _diffusers("Flux", "SD3", "Qwen", "ZImage", "PixArt", "Sana", "Wan", "LTX",
                                        "Hunyuan", "Lumina", "Chroma", "AuraFlow", "Cosmos", "HiDream", "Mochi"),
              _folder("transformer", "a transformer of a pipeline", FOLDER, "diffusers")),
    FolderRow("config.json", _transformers("Llava", "LlavaLlama", "LlavaQwen"),
              _folder("language-model", "a language model that sees", LANGUAGE, "llava")),
    FolderRow("config.json", _transformers("Qwen2VL", "Qwen2_5_VL", "Qwen3VL", "Gemma3ForCond", "SmolVLM", "Idefics",
                                           "InternVL", "Mllama", "PaliGemma"),
              _folder("language-model", "a language model that sees", LANGUAGE, "transformers")),
    FolderRow("config.json", _transformers("CLIPText"),
              _folder("text-encoder", "a CLIP text encoder", FOLDER, "transformers")),
    FolderRow("config.json", _transformers("T5", "UMT5"),
              _folder("text-encoder", "a T5 text encoder", FOLDER, "transformers")),
    FolderRow("config.json", _of_type("clip", "clip_vision_model", "siglip", "siglip_vision_model"),
              _folder("vision-tower", "a vision tower", "give it as --vision-tower of a training", "transformers")),
    FolderRow("config.json", _transformers("StableDiffusionSafetyChecker"),
              _folder("other", "a safety checker", "give it as --safety-checker", "transformers")),
    FolderRow("config.json", lambda config: "mm_projector_type" in config or "mm_hidden_size" in config,
              _folder("projector", "a projector between a vision tower and a language model",
                      "give it as --model-path, and the language model as --model-base", "llava")),
    FolderRow("config.json", lambda config: bool(config.get("architectures")),
              _folder("language-model", "a model of transformers", LANGUAGE, "transformers")),
    FolderRow("config.json", lambda config: "_class_name" in config,
              _folder("other", "a part of a pipeline of diffusers", NOT_HERE, "diffusers")),
)  # fmt: skip
FILES = tuple(dict.fromkeys(row.file for row in ROWS))


def recognise_folder(folder: Path) -> tuple[FileKind, dict[str, Any]] | None:
    """The kind, and the JSON file that tells it; None where none does.

    Raises:
        UserError: such a file is no JSON object.
    """
    read = {name: json_object(folder / name) for name in FILES}
    if broken := next((name for name in FILES if read[name] is None and (folder / name).is_file()), None):
        raise UserError(f"{str(folder / broken)!r} is no valid JSON object; copy the file again.")
    found = next((row for row in ROWS if read[row.file] is not None and row.fits(read[row.file] or {})), None)
    return None if found is None else (found.kind, read[found.file] or {})


def lacking_parts(folder: Path, index: Config) -> list[str]:
    """What a pipeline's folder lacks of what its `model_index.json` names: `vae/`, or `the weights of unet/`."""
    lacking = []
    for name, made in index.items():
        if name in NOT_NEEDED or not (isinstance(made, list) and [type(word) for word in made] == [str, str]):
            continue
        library, kind = made
        if not (folder / name).is_dir():
            lacking.append(f"{name}/")
        elif library in STEMS and not name.startswith(("tokenizer", "scheduler")) and not kind.endswith(PROCESSORS):
            try:
                choose(folder / name, library)
            except UserError:
                lacking.append(f"the weights of {name}/")
            else:
                lacking += [] if (folder / name / "config.json").is_file() else [f"{name}/config.json"]
    return lacking


def json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file, or something else in it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
