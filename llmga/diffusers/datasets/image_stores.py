"""Where pictures lie that a list names: folders, and LMDBs of encoded pictures by name."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from llmga.diffusers.datasets.columns import ENDINGS
from llmga.errors import UserError
from llmga.extras import require
from llmga.files import below


class ImageStore(Protocol):
    """Pictures by name."""

    def find(self, name: str) -> Path | bytes | None:
        """The file, or the bytes of one; None when the name is not here."""

    def stamp(self, name: str) -> str:
        """What changes when the picture does; nothing when it is not here."""


class Folder:
    """Picture files; a name is a path below the folder."""

    def __init__(self, root: Path):
        self.root = root

    def find(self, name: str) -> Path | None:
        """The file, whose ending the name may leave out as kohya's metadata do; None when there is none."""
        path = self.root / name
        if path.is_file():
            return path
        named = (path.with_name(path.name + ending) for ending in ENDINGS) if path.suffix not in ENDINGS else ()
        return next((file for file in named if file.is_file()), None)

    def stamp(self, name: str) -> str:
        """Size and time of the file; nothing when there is none."""
        path = self.find(name)
        return _stamp(path) if path else ""


class LmdbStore:
    """A Lightning memory-mapped database: the UTF-8 name -> the bytes of a picture file.

    Opened when first asked.
    """

    def __init__(self, root: Path):
        self.root = root

    def find(self, name: str) -> bytes | None:
        """The bytes of the file; None when the database has no such name."""
        with _database(self.root).begin() as transaction:
            return transaction.get(name.encode())

    @cached_property
    def _own_stamp(self) -> str:
        return _stamp(self.root / "data.mdb")

    def stamp(self, name: str) -> str:
        """Size and time of the whole database; nothing when it has no such name."""
        return self._own_stamp if self.find(name) is not None else ""


def _stamp(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


_HANDLES: dict[Path, tuple[int, Any]] = {}  # process that opened it, handle; one process may open each only once


def _database(root: Path) -> Any:
    """The open database; a handle that came over a fork is closed first, which leaves the parent's alone."""
    process, handle = _HANDLES.get(root, (None, None))
    if process != os.getpid():
        if handle is not None:
            handle.close()
        _HANDLES[root] = os.getpid(), _opened(root)
    return _HANDLES[root][1]


def _opened(root: Path) -> Any:
    lmdb = require("lmdb", f"the LMDB {str(root)!r}")
    try:
        return lmdb.open(str(root), readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as problem:
        raise UserError(f"the LMDB {str(root)!r} cannot be opened ({problem}); copy it again.") from None


def open_image_stores(paths: Sequence[str]) -> list[ImageStore]:
    """A store for each path.

    Raises:
        UserError: one is not there.
    """
    for path in paths:
        if not Path(path).is_dir():
            raise UserError(f"the pictures {path!r} are not there{below(path)}; give folders or LMDBs with --images.")
    return [LmdbStore(Path(path)) if Path(path, "data.mdb").is_file() else Folder(Path(path)) for path in paths]
