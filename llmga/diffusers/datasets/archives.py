"""Webdataset: tars in which a picture and its caption follow each other, read where they lie, never unpacked.

A sample is what has one name up to the first dot: `000000017.jpg`, `000000017.txt`, `000000017.json`.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmga.diffusers.datasets.columns import ENDINGS
from llmga.diffusers.datasets.pairs import BESIDE, caption_in_json
from llmga.errors import UserError
from llmga.filetypes import file_type
from llmga.fingerprints import digest

if TYPE_CHECKING:
    from datasets import Dataset

Sample = tuple[str, int, int, str]  # tar, place and size of the picture in it, caption


def tars_in(path: Path) -> list[Path]:
    """The tars of a folder, or the one that is given."""
    return sorted(path.glob("*.tar")) if path.is_dir() else [path]


def read_tars(path: Path, cache: Path) -> "Dataset":
    """A tar, or a folder of them, such as img2dataset writes.

    Raises:
        UserError: one cannot be read, or a picture has no caption.
    """
    from datasets import Dataset, Features, Image, Value

    files = tars_in(path)
    samples = [sample for file in files for sample in _samples(file)]
    if not samples:
        raise UserError(f"the training data {str(path)!r} holds no picture; a webdataset tar has 1.jpg and 1.txt side "
                        "by side.")  # fmt: skip
    tars, places, sizes, captions = zip(*samples, strict=True)
    columns = {"image": [{"bytes": None, "path": tar} for tar in tars], "caption": captions, "at": places,
               "size": sizes}  # fmt: skip
    number = Value("int64")
    features = Features({"image": Image(decode=False), "caption": Value("string"), "at": number, "size": number})
    table = Dataset.from_dict({name: list(values) for name, values in columns.items()}, features)
    table._fingerprint = digest(f"{file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)
    return table


def _samples(file: Path) -> Iterator[Sample]:
    kind = file_type(file)
    try:
        with tarfile.open(file, "r:") as tar:
            for name, members in _grouped(tar):
                yield from _sample(tar, file, name, members)
    except (tarfile.TarError, OSError, UnicodeDecodeError) as problem:
        packed = f"is {kind.said}: {kind.remedy}" if kind and "tar" not in kind.said else f"cannot be read ({problem})"
        raise UserError(f"the training data {str(file)!r} {packed}; give whole tars that are not packed.") from None


def _grouped(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Each sample's files by ending, in the order of the tar."""
    last, members = "", dict[str, tarfile.TarInfo]()
    for member in tar:
        folder, slash, base = member.name.rpartition("/")
        stem, dot, ending = base.partition(".")
        if not member.isfile() or not stem or not dot:
            continue
        name = f"{folder}{slash}{stem}"
        if name != last and members:
            yield last, members
            members = {}
        last = name
        members["." + ending.lower()] = member
    if members:
        yield last, members


def _sample(tar: tarfile.TarFile, file: Path, name: str, members: dict[str, tarfile.TarInfo]) -> Iterator[Sample]:
    picture = next((members[ending] for ending in members if "." + ending.rpartition(".")[2] in ENDINGS), None)
    if picture is None:
        return
    caption = next((said for ending in BESIDE if (said := _read(tar, members.get(ending), ending)) is not None), None)
    if caption is None:
        raise UserError(f"the picture {name!r} in {str(file)!r} has no caption; put {Path(name).name}.txt behind it, "
                        "or a .json with a `caption`.")  # fmt: skip
    yield str(file), picture.offset_data, picture.size, " ".join(caption.split())


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo | None, ending: str) -> str | None:
    stream = tar.extractfile(member) if member is not None else None
    if stream is None:
        return None
    content: Any = stream.read()
    if ending != ".json":
        return content.decode("utf-8-sig")
    try:
        return caption_in_json(json.loads(content))
    except (ValueError, RecursionError):
        return None


def read_at(tar: Path, place: int, size: int) -> bytes:
    """A picture's bytes."""
    with tar.open("rb") as file:
        file.seek(place)
        return file.read(size)
