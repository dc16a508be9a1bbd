"""Files that are there whole or not at all: whatever ends the process, what was there before stays readable."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file beside its place and move it there, replacing what was there.  Raises: OSError, leaving nothing."""
    _placed(Path(path), content, os.replace)


def write_new(path: str | Path, content: bytes) -> None:
    """The same for a place that must be free.  Raises: FileExistsError when it is taken, OSError."""
    _placed(Path(path), content, _linked)


def _placed(path: Path, content: bytes, move: Callable[[Path, Path], object]) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
    try:
        draft.write_bytes(content)
        _to_disk(draft)
        move(draft, path)
        _to_disk(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _linked(draft: Path, path: Path) -> None:
    """Two names for one file: unlike a move, it fails where the place is taken."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        path.open("xb").close()
        os.replace(draft, path)


def _to_disk(path: Path) -> None:
    """Ask the system to write it now: a power cut may otherwise find the name without the content."""
    with suppress(OSError):  # folders cannot be opened on Windows
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
