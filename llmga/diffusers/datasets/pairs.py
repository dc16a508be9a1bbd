"""Folders of pictures with a text beside each, as kohya's scripts and img2dataset write them."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmga.diffusers.datasets.columns import CAPTIONS, ENDINGS, value, whole
from llmga.errors import UserError
from llmga.fingerprints import digest

if TYPE_CHECKING:
    from datasets import Dataset

BESIDE = (".txt", ".caption", ".json")  # endings of the texts, the first that is there counts
NUMBERED = re.compile(r"(\d+)_(.+)")  # how often an epoch shows the pictures of a folder, and what they are of
MOST_REPEATS = 10_000  # beyond it the number is a date or a name: each repeat is a row of the table


def pictures_in(folder: Path, *, below: bool = True) -> Iterator[Path]:
    """The pictures of a folder and, perhaps, of those below it."""
    entries = folder.rglob("*") if below else folder.iterdir()
    return (file for file in entries if file.suffix.lower() in ENDINGS)


def has_pairs(folder: Path) -> bool:
    """Whether any picture has a text beside it."""
    return any(_beside(file) is not None for file in pictures_in(folder))


def read_pairs(path: Path, cache: Path) -> "Dataset":
    """Pictures with a text of the same name beside each: `1.jpg` and `1.txt`, `1.caption` or `1.json`."""
    return _table((picture, text_beside(picture), 1) for picture in sorted(pictures_in(path)))


def numbered_folders(path: Path) -> list[Path]:
    """The folders that kohya's scripts would take, such as `10_cat`: below the path, or the path itself."""
    if NUMBERED.fullmatch(path.name) and any(pictures_in(path, below=False)):
        return [path]
    named = (folder for folder in path.iterdir() if folder.is_dir() and NUMBERED.fullmatch(folder.name))
    return sorted(folder for folder in named if any(pictures_in(folder, below=False)))


def read_numbered(path: Path, cache: Path) -> "Dataset":
    """Folders `10_cat`: an epoch shows each picture ten times; without a text beside it, its caption is `cat`.

    Raises:
        UserError: all of them show their pictures zero times, or one more often than anybody means.
    """
    named = numbered_folders(path)
    taken = [folder for folder in named if _repeats(folder)]
    for folder in path.iterdir() if named != [path] else ():
        if folder.is_dir() and folder not in named and any(pictures_in(folder)):
            print(f"{str(folder)!r} is left out: folders are named as in 10_cat, repeats first.", file=sys.stderr)
    if not taken:
        raise UserError(_zero_times(named[0]) + ".")
    for folder in named:
        if folder not in taken:
            print(f"{_zero_times(folder)}, or take it out; it is left out.", file=sys.stderr)
    return _table(row for folder in taken for row in _repeated(folder))


def _zero_times(folder: Path) -> str:
    return f"{str(folder)!r} shows its pictures zero times; rename it, as in 10_{_of(folder)}"


def _parts_of(folder: Path) -> tuple[str, str]:
    named = NUMBERED.fullmatch(folder.name)
    assert named is not None
    return named[1], named[2]


def _of(folder: Path) -> str:
    """What the pictures of a numbered folder are of."""
    return _parts_of(folder)[1]


def _repeats(folder: Path) -> int:
    """How often an epoch shows each picture of a numbered folder.

    Raises:
        UserError: more than `MOST_REPEATS` times.
    """
    repeats = int(_parts_of(folder)[0])
    if repeats > MOST_REPEATS:
        raise UserError(f"{str(folder)!r} shows its pictures {repeats} times in an epoch, of at most {MOST_REPEATS}; "
                        f"rename it, as in 10_{_of(folder)}.")  # fmt: skip
    return repeats


def _repeated(folder: Path) -> Iterator[tuple[Path, str, int]]:
    repeats, said = _repeats(folder), _of(folder)
    for picture in sorted(pictures_in(folder, below=False)):
        yield picture, text_beside(picture, instead=said), repeats


def _table(rows: Iterable[tuple[Path, str, int]]) -> "Dataset":
    """A table of pictures, captions and how often each is shown."""
    from datasets import Dataset, Features, Image, Value

    images: list[dict[str, str | None]] = []
    captions: list[str] = []
    same_as: list[int] = []
    states = []
    for picture, caption, repeats in rows:
        same_as += [len(images)] * repeats
        images += [{"bytes": None, "path": str(picture)}] * repeats
        captions += [caption] * repeats
        states.append(picture.stat())
    features = {"image": Image(decode=False), "caption": Value("string"), "same_as": Value("int64")}
    columns = {"image": images, "caption": captions, "same_as": same_as}
    table = Dataset.from_dict(columns, Features(features))
    table._fingerprint = digest(f"{state.st_size} {state.st_mtime_ns}" for state in states)  # as what tells a picture
    return table


def _beside(picture: Path) -> Path | None:
    return next((file for ending in BESIDE if (file := picture.with_suffix(ending)).is_file()), None)


def text_beside(picture: Path, instead: str | None = None) -> str:
    """The caption of a picture in one line.

    Args:
        instead: where there is none.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    file = _beside(picture)
    if file is None and instead is not None:
        return instead
    file = file or picture.with_suffix(BESIDE[0])
    try:
        text = file.read_text(encoding="utf-8-sig")
        said = value(json.loads(text), CAPTIONS) if file.suffix == ".json" else text
    except (OSError, ValueError, AttributeError, RecursionError):
        said = None
    if not isinstance(said, str):
        raise UserError(f"the caption {str(file)!r} of {picture.name!r} cannot be read; write it as UTF-8 text, "
                        "or take the picture out.") from None  # fmt: skip
    return whole(" ".join(said.split()))


def caption_in_json(content: Any) -> str | None:
    """The caption of one picture's JSON object; None without one."""
    said = value(content, CAPTIONS) if isinstance(content, dict) else None
    return whole(said) if isinstance(said, str) else None
