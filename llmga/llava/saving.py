"""Write the layout of the published checkpoints."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from llmga.errors import UserError
from llmga.files import told_unwritten, whole_folder
from llmga.llava import checkpoints, towers
from llmga.llava.mllm import Mllm
from llmga.llava.published import published_config
from llmga.llava.vocabulary import save_tokenizer


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A folder to write a checkpoint into, which is at `out` at the end of the body, whole.

    Raises:
        UserError: when something is there, or the disk does not take it.
    """
    check_new(out)
    with told_unwritten(out, "make room, or give another folder"), whole_folder(out) as draft:
        yield draft


def check_new(out: str | Path) -> None:
    """See whether a new folder can be made at `out`.

    Raises:
        UserError: when something is there that is no empty folder.
    """
    if os.path.isdir(out) and os.listdir(out):
        raise UserError(f"{str(out)!r} is not empty; give a new folder.")
    if os.path.exists(out) and not os.path.isdir(out):
        raise UserError(f"{str(out)!r} is a file; give a new folder.")


def save_published(mllm: Mllm, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write the layout of the 2024 checkpoints; `load_mllm` opens it, the vision tower is inside.

    Args:
        dtype: of the saved weights, such as torch.float16; None keeps each as it is.
    """
    from huggingface_hub import save_torch_state_dict

    save_description(mllm, folder, dtype or mllm.model.dtype)
    weights = checkpoints.published_weights(mllm.model.state_dict(), mllm.model.config, dtype)
    save_torch_state_dict(weights, folder, metadata={"format": "pt"})


def save_description(mllm: Mllm, folder: str | Path, dtype: torch.dtype) -> None:
    """Everything of a published folder but its weights, which are in `dtype`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = mllm.model.config
    flat = published_config(
        config,
        conv_mode=mllm.conv_mode,
        context_length=mllm.context_length,
        dtype=dtype,
        marks_pictures=mllm.marks_pictures,
        word_boundary=mllm.word_boundary,
        image_aspect=mllm.image_aspect,
        taught_turns=mllm.taught_turns,
    )
    _write_json(folder / "config.json", flat)
    ends = {"eos_token_id": sorted(mllm.stop_ids), "pad_token_id": mllm.tokenizer.pad_token_id}
    _write_json(folder / "generation_config.json", ends)
    save_tokenizer(mllm.tokenizer, folder)
    tower = folder / towers.OWN_TOWER
    tower.mkdir(exist_ok=True)
    config.vision_config.to_json_file(tower / "config.json")
    mllm.image_processor.save_pretrained(tower)


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
