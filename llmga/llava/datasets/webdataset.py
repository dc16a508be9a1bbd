"""Records in a tar archive, as webdataset and img2dataset write them: files of one key stand side by side.

`000.json`, `000.txt` and `000.jpg` are one record with the keys `json`, `txt` and `jpg`; nothing is unpacked to the
disk, so that no name in an archive is ever a path.  A picture is told by its place in the archive.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmga.errors import UserError
from llmga.fingerprints import TAIL
from llmga.llava.datasets.json_stream import LONGEST, Item

PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
TEXTS = ("txt", "text", "caption", "cls", "json")


def items(path: Path) -> Iterator[Item]:
    """The records of an archive; one with a file twice, or whose key came before, is an item with a problem.

    Raises:
        UserError: for a file that is no tar archive, is packed as a whole, or breaks off.
    """
    done: set[str] = set()
    key, members = None, list[tuple[str, tarfile.TarInfo]]()
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isreg() or Path(member.name).name.startswith("."):
                    continue  # folders, links and devices hold no record
                own, ending = _split(member.name)
                if key is not None and own != key:
                    yield _item(archive, path, key, members, key in done)
                    done.add(key)
                    members = []
                key = own
                members.append((ending, member))
            if key is not None:
                yield _item(archive, path, key, members, key in done)
    except tarfile.TarError as problem:
        packed = " It is packed as a whole, which lets nobody look into it: unpack it (gzip -d)." * _is_packed(path)
        raise UserError(f"data file {str(path)!r} is no tar archive, or breaks off ({problem}).{packed}") from None


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _split(name: str) -> tuple[str, str]:
    """Key and ending: `a/b.c.jpg` is (`a/b`, `c.jpg`)."""
    folder, _, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return (f"{folder}/{stem}" if folder else stem), ending.lower()


def _item(
    archive: tarfile.TarFile, path: Path, key: str, members: list[tuple[str, tarfile.TarInfo]], again: bool
) -> Item:
    endings = [ending for ending, _ in members]
    if again:
        return Item("null", None, f"has the key {key!r}, which another record of the archive has, too")
    if twice := next((ending for ending in endings if endings.count(ending) > 1), None):
        return Item("null", None, f"has the file {key}.{twice} twice")
    record: dict[str, Any] = {"__key__": key}
    pictures: list[dict[str, Any]] = []
    for ending, member in members:
        last = ending.rpartition(".")[2]
        if last in PICTURES:
            pictures.append(_place(archive, path, member))
        elif ending in TEXTS:
            if member.size > LONGEST:
                return Item("null", None, f"has a file {key}.{ending} of more than {LONGEST} bytes")
            content = archive.extractfile(member)
            record[ending] = content.read().decode("utf-8", "replace") if content else ""
    if pictures:
        record["jpg"] = pictures[0] if len(pictures) == 1 else pictures
    return Item(json.dumps(record), record)


def _place(archive: tarfile.TarFile, path: Path, member: tarfile.TarInfo) -> dict[str, Any]:
    """Where a picture stands, its last bytes, by which another one is known, and its name for messages."""
    assert archive.fileobj is not None
    archive.fileobj.seek(member.offset_data + max(0, member.size - TAIL))
    tail = archive.fileobj.read(min(TAIL, member.size))
    return {"file": str(path.resolve()), "start": member.offset_data, "size": member.size, "tail": tail.hex(),
            "member": member.name}  # fmt: skip
