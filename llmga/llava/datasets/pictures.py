"""Pictures by name: from folders, from an lmdb, or from the record itself."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from llmga.errors import UserError
from llmga.images import open_image
from llmga.llava.datasets.base import Unusable

MISSING = "picture missing or unreadable"
LMDB_FILE = "data.mdb"


def opener(places: str) -> Callable[[Any], Image.Image]:
    """What opens a picture: its name below one of `places`, or `{"bytes": …}` as tables hold it.

    Args:
        places: folders and lmdbs, separated by ";", searched in order.
    """

    def open_picture(name: Any) -> Image.Image:
        try:
            return open_image(located(places, name))
        except Exception as problem:  # whatever a decoder stumbles over in bytes that anybody may have written
            raise Unusable(MISSING) from problem

    return open_picture


def located(places: str, name: Any) -> Path | bytes:
    """The file of a picture, or its bytes.

    Raises: UserError when it is in none of the places.
    """
    if isinstance(name, Mapping):
        if content := name.get("bytes"):
            return bytes(content)
        name = name.get("path") or ""
    if not isinstance(name, str) or not name:
        raise UserError(f"{name!r} is not the name of a picture.")
    for found in _candidates(places, name):
        if isinstance(found, bytes) or found.is_file():
            return found
    raise UserError(f"picture {name!r} is not in {places or 'the working folder'!r}.")


def _candidates(places: str, name: str) -> Iterator[Path | bytes]:
    for place in places.split(";"):
        if not is_lmdb(place):
            yield Path(place) / name
        elif (content := _from_lmdb(place, name)) is not None:
            yield content


@cache
def is_lmdb(place: str) -> bool:
    return place.endswith(".mdb") or (Path(place) / LMDB_FILE).is_file()


def _from_lmdb(place: str, name: str) -> bytes | None:
    with _environment(place, os.getpid()).begin() as reading:
        return next((found for key in (name, Path(name).stem) if (found := reading.get(key.encode()))), None)


@cache
def _environment(place: str, process: int) -> Any:
    """An open lmdb; a forked process needs its own."""
    try:
        import lmdb
    except ImportError:
        raise UserError(f"{place!r} is an lmdb, which needs the package lmdb; pip install lmdb.") from None
    try:
        return lmdb.open(place, readonly=True, lock=False, readahead=False, subdir=not place.endswith(".mdb"))
    except lmdb.Error as problem:
        raise UserError(f"{place!r} cannot be read as an lmdb: {problem}.") from None


def check_places(places: str) -> None:
    """Raises: UserError for a folder or lmdb that is not there, before every single picture is missed."""
    for place in filter(None, places.split(";")):
        if not Path(place).exists():
            raise UserError(f"picture folder {place!r} does not exist; check images= of the data source.")
        if is_lmdb(place):
            _environment(place, os.getpid())


def other_capitals(places: str, name: str) -> str | None:
    """A file whose name differs from a missing one only in capitals.  Reads whole folders: not for training."""
    for place in places.split(";"):
        folder = (Path(place) / name).parent
        if folder.is_dir() and not is_lmdb(place):
            wanted = Path(name).name.lower()
            with os.scandir(folder) as entries:
                if close := next((entry.name for entry in entries if entry.name.lower() == wanted), None):
                    return close
    return None
