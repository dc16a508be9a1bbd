"""The published layout <-> ours: the only room that knows old key names, and the files of a folder."""

import json
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from llmga.errors import UserError
from llmga.llava.backbones import ConfigDict
from llmga.llava.modeling import LlmgaConfig

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
PROJECTOR = "mm_projector.bin"  # a first stage's whole result
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")

_TEXT_AND_TOWER = (
    ("model.vision_tower.vision_tower.vision_model.", "model.vision_tower."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.layers.", "model.language_model.layers."),
    ("model.norm.", "model.language_model.norm."),
)
_HF_PROJECTOR = (
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
)
_OWN_PROJECTOR = (("model.mm_projector.", "model.multi_modal_projector."),)


def key_table(projector_type: str) -> tuple[tuple[str, str], ...]:
    """Pairs of prefixes, published -> ours, that rename every weight of a model with this projector."""
    return _TEXT_AND_TOWER + (_HF_PROJECTOR if projector_type == "mlp2x_gelu" else _OWN_PROJECTOR)


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

    Raises:
        UserError: when it is missing or cannot be read.
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

    Raises:
        UserError: when there are none or one cannot be read.
    """
    for kind in ("*.safetensors", "pytorch_model*.bin"):
        if files := sorted(folder.glob(kind)):
            return {key: tensor for file in files for key, tensor in read_tensors(file).items()}
    raise UserError(
        f"checkpoint {str(folder)!r} lacks its weights (one of {', '.join(WEIGHTS)}); download or save it again."
    )


def read_json(folder: Path, name: str) -> ConfigDict:
    """The content of a folder's JSON file.

    Raises:
        UserError: when the file is missing or is no JSON object.
    """
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


def has_tokenizer(folder: Path) -> bool:
    """Whether a checkpoint folder brings a tokenizer of its own."""
    return any((folder / name).is_file() for name in TOKENIZERS)


def require_files(folder: Path) -> None:
    """See whether the folder is a whole checkpoint.

    Raises:
        UserError: that names what it lacks.
    """
    if (folder / PROJECTOR).is_file() and not any((folder / name).is_file() for name in WEIGHTS):
        raise UserError(f"{str(folder)!r} holds a projector only; give the model that it belongs to as --model-base.")
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
