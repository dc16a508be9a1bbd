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
LONGEST_SHOWN = 200  # characters of a name that a message quotes


def opener(places: str) -> Callable[[Any], Image.Image]:
    """What opens a picture: its name below one of `places`, or its bytes, also in `{"bytes": …}`, as tables hold it.

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
    content = name.get("bytes") if isinstance(name, Mapping) else name
    if content and isinstance(content, (bytes, bytearray)):
        return bytes(content)
    if isinstance(name, Mapping):
        name = name.get("path") or ""
    if not isinstance(name, str) or not name:
        raise UserError(f"{name!r} is not the name of a picture.")
    for found in _candidates(places, name):
        if isinstance(found, bytes) or _is_file(found):
            return found
    shown = name if len(name) <= LONGEST_SHOWN else name[:LONGEST_SHOWN] + "…"  # a whole data: URI was seen here
    raise UserError(f"picture {shown!r} is not in {places or 'the working folder'!r}.")


def _is_file(path: Path) -> bool:
    """Also for names that no file system takes."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


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
    environment = _environment(place, os.getpid())
    keys = [key for text in (name, Path(name).stem) if 0 < len(key := text.encode()) <= environment.max_key_size()]
    with environment.begin() as reading:
        return next((found for key in keys if (found := reading.get(key))), None)


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
        if not is_lmdb(place) and (close := _close(Path(place) / name)):
            return close
    return None


def _close(path: Path) -> str | None:
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):  # no folder, or none that may be read
        return None
    return next((name for name in names if name != path.name and name.lower() == path.name.lower()), None)
