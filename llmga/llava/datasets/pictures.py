"""Pictures by name: from folders, from an lmdb, or from the record itself."""

import base64
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from llmga.errors import UserError, system_reason
from llmga.extras import require
from llmga.files import below, plain_file
from llmga.filetypes import file_type, only_archives
from llmga.images import open_image
from llmga.llava.datasets.base import UnusableRecord

MISSING = "picture missing or unreadable"
LMDB_FILE = "data.mdb"
LONGEST_SHOWN = 200  # characters of a name that a message quotes

SHORTEST, SHOWN = 64, 40  # letters of a picture in base64, and of a URI that a message quotes
BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk")  # how JPEG, PNG, GIF, WEBP and BMP begin in it
IN_LETTERS = "write it as data:image/png;base64,… or give a file's name"
MOST_BYTES = 1 << 28  # of one picture

HINTS = {  # what a name may hold that no file's name should: the remedy
    "://": "nothing is fetched while training: download it and give the file's name",
    "\\": "write / for \\ between folders",
}


def opener(places: str) -> Callable[[Any], Image.Image]:
    """What opens a picture: its name below one of `places`, or its bytes, also in `{"bytes": …}`, as tables hold it.

    Args:
        places: folders and lmdbs, separated by ";", searched in order.
    """

    def open_picture(name: Any) -> Image.Image:
        try:
            found = find_picture(places, name)
            return open_image(found, name=called(name, found))
        except Exception as problem:  # whatever a decoder stumbles over in bytes that anybody may have written
            raise UnusableRecord(MISSING) from problem

    return open_picture


def called(name: Any, found: Path | bytes) -> str | None:
    """What messages call a picture, as `open_image` takes it; None is its path."""
    if isinstance(found, Path):
        return None
    if isinstance(name, Mapping) and name.get("member"):
        return f"picture {str(name['member'])!r} of {str(name['file'])!r}"
    if isinstance(name, Mapping) and isinstance(path := name.get("path"), str) and path:
        return f"picture {path!r}"
    of_lmdb = isinstance(name, str) and not name.startswith(("data:", *BASE64))
    return f"picture {name!r}" if of_lmdb else "a picture inside the record"


def find_picture(places: str, name: Any) -> Path | bytes:
    """The file of a picture, or its bytes.

    Raises:
        UserError: when it is in none of the places.
    """
    content = name.get("bytes") if isinstance(name, Mapping) else name
    if content and isinstance(content, (bytes, bytearray)):
        return bytes(content)
    if isinstance(name, Mapping) and name.get("file"):
        return _in_archive(name)
    if isinstance(name, Mapping):
        name = (content if isinstance(content, str) else None) or name.get("path") or name.get("url") or ""
    if not isinstance(name, str) or not name:
        raise UserError(f"{name!r} is not the name of a picture.")
    if (written := in_letters(name)) is not None:
        return written
    for spelt in _spellings(name):
        for found in _candidates(places, spelt):
            if isinstance(found, bytes) or _is_file(found):
                return found
    shown = name if len(name) <= LONGEST_SHOWN else name[:LONGEST_SHOWN] + "…"  # a whole data: URI was seen here
    hint = next((f"; {remedy}" for part, remedy in HINTS.items() if part in name), "")
    if not places and not hint:
        hint = "; give the folder where names start as --images, or images= of the source"
    raise UserError(f"picture {shown!r} is not in {repr(places) if places else 'the working folder'}{hint}.")


def in_letters(name: str) -> bytes | None:
    """The picture that a text itself is, as a `data:` URI or in base64; None for a name.

    Raises:
        UserError: for a `data:` URI of anything else.
    """
    if name.startswith("data:"):
        head, comma, letters = name.partition(",")
        content = _decoded(letters) if comma and head.endswith(";base64") else None
        if not content:
            raise UserError(f"picture {name[:SHOWN]!r}… is a data: URI without a picture in base64; {IN_LETTERS}.")
        return content
    if len(name) < SHORTEST or not name.startswith(BASE64):
        return None
    return _decoded(name)


def _decoded(letters: str) -> bytes | None:
    try:
        return base64.b64decode("".join(letters.split()), validate=True) or None
    except ValueError:
        return None


def _in_archive(place: Mapping[str, Any]) -> bytes:
    """What stands at a place of a tar archive.

    Raises:
        UserError: when it is not there any more.
    """
    file, start, size = Path(str(place["file"])), place.get("start"), place.get("size")
    if not isinstance(start, int) or not isinstance(size, int) or start < 0 or not 0 <= size <= MOST_BYTES:
        raise UserError(f"a picture in the archive {str(file)!r} has no place of at most {MOST_BYTES} bytes.")
    try:
        with plain_file(file).open("rb") as archive:
            archive.seek(start)
            content = archive.read(size)
    except (OSError, ValueError) as problem:
        raise UserError(f"the archive {str(file)!r} cannot be read ({system_reason(problem)}); put it back.") from None
    if len(content) < size:
        raise UserError(f"the archive {str(file)!r} is shorter than it was; give back the same, or read it anew.")
    return content


def _spellings(name: str) -> list[str]:
    """The name, and the same letters with their accents in one and apart, as macOS and others write them."""
    if name.isascii():
        return [name]
    return list(dict.fromkeys((name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))))


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
    """Whether pictures stand there in an LMDB instead of a folder."""
    return place.endswith(".mdb") or (Path(place) / LMDB_FILE).is_file()


def _from_lmdb(place: str, name: str) -> bytes | None:
    environment = _environment(place, os.getpid())
    keys = [key for text in (name, Path(name).stem) if 0 < len(key := text.encode()) <= environment.max_key_size()]
    with environment.begin() as reading:
        return next((found for key in keys if (found := reading.get(key))), None)


@cache
def _environment(place: str, process: int) -> Any:
    """An open lmdb; a forked process needs its own."""
    lmdb = require("lmdb", f"the lmdb {place!r}")
    try:
        return lmdb.open(place, readonly=True, lock=False, readahead=False, subdir=not place.endswith(".mdb"))
    except lmdb.Error as problem:
        raise UserError(f"{place!r} cannot be read as an lmdb: {problem}.") from None


def check_picture_folders(places: str) -> None:
    """See whether pictures can be found at all, before each of them is missed.

    Raises:
        UserError: for a folder or lmdb that is not there or still packed.
    """
    for place in filter(None, places.split(";")):
        path = Path(place)
        if not path.exists():
            raise UserError(f"picture folder {place!r} does not exist{below(place)}; check images= of the data source.")
        if is_lmdb(place):
            _environment(place, os.getpid())
        elif not path.is_dir():
            kind = file_type(path)
            said, remedy = (kind.said, kind.remedy) if kind else ("a file", "give a folder, or an lmdb")
            raise UserError(f"picture folder {place!r} is {said}; {remedy}.")
        elif packed := only_archives(path):
            raise UserError(f"picture folder {place!r} holds only archives such as {packed[0]!r}; unpack them.")


def other_spelling(places: str, name: str) -> str | None:
    """A file whose name a missing one may mean: with / for \\, or other capitals.

    Reads whole folders: not for training.
    """
    for place in places.split(";"):
        if not is_lmdb(place) and (close := _close(Path(place), name)):
            return close
    return None


def _close(place: Path, name: str) -> str | None:
    slashed = name.replace("\\", "/")
    if slashed != name and _is_file(place / slashed):
        return slashed
    path = place / slashed
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):  # no folder, or none that may be read
        return None
    return next((found for found in names if found != path.name and found.lower() == path.name.lower()), None)
