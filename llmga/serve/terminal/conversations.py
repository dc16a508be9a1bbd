"""Conversations that nobody asked to save, kept all the same: the latest ones of this person."""

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from llmga.serve.terminal.line_editing import state_folder

KEPT = 20  # conversations
NAME = re.compile(r"\d{4}-\d\d-\d\d-\d{6}(-\d+)?")


def new_place() -> Path:
    """A free place for a conversation that begins now, which nobody else can read; the oldest beyond `KEPT` go."""
    folder = state_folder() / "conversations"
    with suppress(OSError):  # a disk that takes nothing keeps nothing
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = sorted((each for each in folder.glob("*") if NAME.fullmatch(each.name) and each.is_dir()), key=_written)
    for old in kept[: max(0, len(kept) + 1 - KEPT)]:
        shutil.rmtree(old, ignore_errors=True)
    began = time.strftime("%Y-%m-%d-%H%M%S")
    names = (began, *(f"{began}-{number}" for number in range(2, 1000)))
    return next(folder / name for name in names if not (folder / name).exists())


def _written(folder: Path) -> float:
    """When a conversation was last saved; long ago where somebody else has just removed it."""
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0
