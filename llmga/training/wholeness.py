"""Whether a checkpoint's files are whole: what a full disk, a power cut or a broken copy leaves is not."""

import json
import zipfile
from collections.abc import Collection
from pathlib import Path

from llmga.errors import UserError


def _check_json(file: Path) -> None:
    """Also that the pieces which an index names are there."""
    content = json.loads(file.read_bytes())
    pieces = set(content["weight_map"].values()) if file.name.endswith(".index.json") else ()
    if missing := sorted(piece for piece in pieces if not (file.parent / piece).is_file()):
        raise ValueError(f"{missing[0]} is missing")


def _check_tensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt"):
            pass
    except SafetensorError as problem:
        raise ValueError(str(problem).splitlines()[0]) from None


def _check_zip(file: Path) -> None:
    """What torch saves is a zip archive, whose table of contents stands at the end."""
    if not zipfile.is_zipfile(file):
        raise ValueError("its end is missing")


CHECKS = {".json": _check_json, ".safetensors": _check_tensors}
CHECKS |= dict.fromkeys((".pt", ".pth", ".bin", ".pkl"), _check_zip)


def damage(folder: Path, needed: Collection[str] = ()) -> str:
    """What is missing in a folder or not whole, found without reading large files through; "" when nothing is.

    Args:
        needed: names, or patterns of names, of files without which it is none.
    """
    if missing := [name for name in needed if not any(folder.glob(name))]:
        return f"{missing[0]} is missing"
    for file in sorted(path for path in folder.rglob("*") if path.suffix in CHECKS and path.is_file()):
        try:
            CHECKS[file.suffix](file)
        except (OSError, ValueError) as problem:
            return f"{file.relative_to(folder)} is damaged: {problem or 'it is empty'}"
    return ""


def require_whole(checkpoint: Path, before: Path | None, needed: Collection[str] = ()) -> None:
    """See that a checkpoint is not damaged.

    Args:
        checkpoint: to go on from.
        before: the checkpoint before it, if there is one.
        needed: as in `damage`.

    Raises:
        UserError: it is; the sentence names what to remove and what a run then goes on from.
    """
    if found := damage(checkpoint, needed):
        then = f"goes on from {str(before)!r}" if before else "starts anew, since no other is there"
        raise UserError(
            f"checkpoint {str(checkpoint)!r} is not whole ({found.rstrip('.')}); remove this folder, and the same "
            f"command {then}."
        )
