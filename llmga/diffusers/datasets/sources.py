"""Captioned pictures in the forms that people have them in, each read into the same table.

A table is a `datasets.Dataset` with the columns `image`, `caption` and perhaps `mask`.  `image` is the name of a
picture that lies elsewhere (`image_stores.py`), its bytes, or {bytes, path} of one that came with the table; `mask` is
a name or None; `caption` is a text, or a list of them.  `at` and `size` say where in the tar at `path` a picture lies,
`same_as` which row the picture of a row was first in.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmga.diffusers.datasets.archives import read_tars
from llmga.diffusers.datasets.columns import ENDINGS
from llmga.diffusers.datasets.lists import read_list as read_list
from llmga.diffusers.datasets.pairs import has_pairs, numbered_folders, pictures_in, read_numbered, read_pairs
from llmga.diffusers.datasets.tables import (
    METADATA,
    has_metadata,
    is_saved,
    parquet_files,
    read_imagefolder,
    read_parquet,
    read_saved,
)
from llmga.errors import UserError
from llmga.filetypes import file_type, only_archives
from llmga.registry import Registry

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Form:
    """A form of training data.

    Attributes:
        fits: whether what lies at a path is of it.
        read: (path, folder where what does not fit into memory is unpacked) -> the table.
        folder: whether a path is a folder.
    """

    fits: Callable[[Path], bool]
    read: Callable[[Path, Path], "Dataset"]
    folder: bool = False


def _ending(*endings: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() in endings


# Tried in this order; folders of img2dataset hold parquet files without pictures beside tars or pictures.
FORMS: Registry[Form] = Registry("form of training data", {
    "JSON list": Form(_ending(".json"), read_list),
    "JSON lines": Form(_ending(".jsonl", ".ndjson"), read_list),
    "CSV or TSV": Form(_ending(".csv", ".tsv"), read_list),
    "parquet file": Form(_ending(".parquet"), read_parquet),
    "webdataset tar": Form(_ending(".tar"), read_tars),
    "saved dataset": Form(is_saved, read_saved, folder=True),
    "folder of webdataset tars": Form(lambda path: any(path.glob("*.tar")), read_tars, folder=True),
    "imagefolder": Form(has_metadata, read_imagefolder, folder=True),
    "kohya's numbered folders": Form(lambda path: bool(numbered_folders(path)), read_numbered, folder=True),
    "pictures with texts beside": Form(has_pairs, read_pairs, folder=True),
    "folder of parquet files": Form(lambda path: bool(parquet_files(path)), read_parquet, folder=True),
})  # fmt: skip


def read_source(path: Path, cache: Path) -> "Dataset":
    """Read one of `--data`.

    Args:
        cache: where what does not fit into memory is unpacked.

    Raises:
        UserError: it is missing, of another form, or lacks pictures or captions.
    """
    return FORMS[form_of(path)].read(path, cache)


def check_sources(paths: Sequence[str]) -> None:
    """See that all are there.

    Raises:
        UserError: one is missing, or of an unknown form.
    """
    for path in map(Path, paths):
        form_of(path)


def form_of(path: Path) -> str:
    """The name of the row that reads what lies there.

    Raises:
        UserError: nothing does, or nothing is there.
    """
    if not path.exists():
        seen = "" if path.is_absolute() else f" (seen from {str(Path.cwd())!r}, where launchers begin)"
        raise UserError(f"the training data {str(path)!r} is not there{seen}; check --data.")
    rows = {name: form for name, form in FORMS.items() if form.folder == path.is_dir()}
    name = next((name for name, form in rows.items() if form.fits(path)), None)
    if name is None:
        raise UserError(f"the training data {str(path)!r} {(_folder if path.is_dir() else _file)(path)}.")
    return name


def _file(path: Path) -> str:
    """What a file is that no row reads, and what comes nearest."""
    if kind := file_type(path):
        return f"is {kind.said}; {kind.remedy}"
    if path.suffix.lower() in ENDINGS:
        return "is a picture; give the folder of it and of the text beside it"
    known = [".json", ".jsonl", ".csv", ".tsv", ".parquet", ".tar"]
    near = difflib.get_close_matches(path.suffix.lower(), known, n=1, cutoff=0.5)
    hint = f"; the nearest is {near[0]}" if near else ""
    return f"ends with {path.suffix or path.name!r}, which is none of {', '.join(known)}{hint}"


def _folder(path: Path) -> str:
    """What a folder is that no row reads, and what comes nearest."""
    if (path / "data.mdb").is_file():
        return "is an LMDB of pictures; give it as --images, and the list of captions that names them as --data"
    if lists := sorted(file.name for file in path.iterdir() if file.suffix in (".json", ".jsonl", ".csv", ".tsv")):
        return f"holds a list; give {str(path / lists[0])!r} as --data and the folder as --images"
    named = ((file.name, difflib.get_close_matches(file.name, METADATA, n=1, cutoff=0.9)) for file in path.iterdir())
    if meant := next(((name, near[0]) for name, near in named if near), None):
        return f"holds a {meant[0]}, which is none of {', '.join(METADATA)}; call it {meant[1]}"
    if packed := only_archives(path):
        return f"holds archives ({', '.join(packed[:3])}); unpack them"
    if picture := next(pictures_in(path), None):
        return (f"holds pictures without captions; the nearest form is a text beside each, {picture.stem}.txt beside "
                f"{picture.name}, or a metadata.jsonl of file_name and caption")  # fmt: skip
    return "cannot be read: it holds no pictures, tars or parquet files"
