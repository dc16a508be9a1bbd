"""The difference between a checkpoint and its base."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.paths import find_checkpoint
from llmga.llava.saving import check_new, new_folder
from llmga.llava.towers import OWN_TOWER

OF_PICTURES = ("mm_projector", "vision_tower", "image_newline")  # parts that a plain base does not have
GROWING = ("embed_tokens.weight", "lm_head.weight")  # a checkpoint may have more rows than its base
Combine = Callable[[Tensor, Tensor], Tensor]


def make_delta(base: str | Path, checkpoint: str | Path, out: str | Path) -> None:
    """Write checkpoint - base.

    Raises:
        UserError: when the two do not belong together, or a folder cannot be read or written.
    """
    _combine(base, checkpoint, out, torch.sub)


def apply_delta(base: str | Path, delta: str | Path, out: str | Path) -> None:
    """Write base + delta.

    Raises:
        UserError: when the two do not belong together, or a folder cannot be read or written.
    """
    _combine(base, delta, out, torch.add)


def _combine(base: str | Path, other: str | Path, out: str | Path, combine: Combine) -> None:
    from huggingface_hub import save_torch_state_dict

    base_folder, folder, out = find_checkpoint(base), find_checkpoint(other), Path(out)
    if os.path.exists(out) and out.resolve() in (base_folder.resolve(), folder.resolve()):
        raise UserError(f"{str(out)!r} would overwrite what is read; give another folder.")
    check_new(out)
    known, weights = checkpoints.read_weights(base_folder), checkpoints.read_weights(folder)
    combined = {key: _combined(key, tensor, known.get(key), combine) for key, tensor in weights.items()}
    missing = sorted(set(known) - set(weights))
    if missing:
        raise UserError(f"{str(folder)!r} lacks {missing[0]}, which {str(base_folder)!r} has; give its own base.")
    with new_folder(out) as draft:
        save_torch_state_dict(combined, draft, metadata={"format": "pt"})
        for file in folder.iterdir():
            if file.name == OWN_TOWER:
                shutil.copytree(file, draft / file.name)
            if file.is_file() and file.suffix not in (".safetensors", ".bin") and not file.name.endswith(".index.json"):
                shutil.copy2(file, draft / file.name)


def _combined(key: str, tensor: Tensor, known: Tensor | None, combine: Combine) -> Tensor:
    """In single precision, so that only the result is rounded; rows that the base lacks stay."""
    if known is None:
        if any(part in key for part in OF_PICTURES):
            return tensor
        raise UserError(f"weight {key} is not in the base; give the base that the checkpoint was trained from.")
    rows = len(known)
    fits = known.shape == tensor.shape or (key.endswith(GROWING) and known.shape[1:] == tensor.shape[1:])
    if not fits or len(tensor) < rows:
        raise UserError(f"weight {key} is {tuple(tensor.shape)}, but {tuple(known.shape)} in the base.")
    result = tensor.clone()
    difference = combine(tensor[:rows].float(), known.float())
    result[:rows] = difference.to(tensor.dtype)
    return result
