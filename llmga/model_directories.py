"""Where models lie: below the current folder, or where a clone of the repository has them."""

import difflib
import os
import reprlib
from collections.abc import Iterator
from pathlib import Path

from llmga.errors import UserError

CHECKPOINTS = "checkpoints"
LONGEST_NAME = 255  # bytes of a part of a path
MODEL_DIRECTORIES = ("checkpoints/Inference", "checkpoints/Training")
ROOTS = (Path(), Path(__file__).resolve().parents[1])  # the current folder comes first


def in_model_directories(name: str | Path) -> Iterator[Path]:
    """Every place that a model of this name may have, whether it is there or not, the first to be taken first."""
    return (root / directory / name for root in ROOTS for directory in MODEL_DIRECTORIES)


def places(path: str | Path) -> Iterator[Path]:
    """Where a model may lie that a person names: as given, below a model directory, or in the clone.

    Raises:
        UserError: for what can be no path.
    """
    if not isinstance(path, str | Path):
        raise UserError(f"{path!r} names no model; give a folder, a model's name or owner/name of the hub.")
    given = Path(os.path.expanduser(path))
    if not str(path).strip() or any(len(os.fsencode(part)) > LONGEST_NAME for part in given.parts):
        raise UserError(f"{reprlib.repr(str(path))} names no model; give a folder, a model's name or owner/name of the "
                        "hub.")  # fmt: skip
    yield given
    yield from in_model_directories(given)
    if str(given).startswith(f"{CHECKPOINTS}{os.sep}"):
        yield ROOTS[-1] / given


def hint(path: str | Path) -> str:
    """What a message adds to a name that is not there: the model whose name is nearest."""
    known = {each.name for directory in in_model_directories("") if directory.is_dir() for each in directory.iterdir()}
    close = difflib.get_close_matches(Path(path).name, sorted(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ";"
