"""Where pictures lie that a list names: folders, and LMDBs of encoded pictures by name."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from llmga.errors import UserError


class Place(Protocol):
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
        path = self.root / name
        return path if path.is_file() else None

    def stamp(self, name: str) -> str:
        path = self.root / name
        return _stamp(path) if path.is_file() else ""


class Lmdb:
    """A Lightning memory-mapped database: the UTF-8 name -> the bytes of a picture file.

    Opened when first asked, and again in every process: a handle must not be carried over a fork.
    """

    def __init__(self, root: Path):
        self.root, self._process = root, -1

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_process": -1}

    @property
    def _database(self) -> Any:
        if self._process != os.getpid():
            self._handle, self._process = _open_lmdb(self.root), os.getpid()
        return self._handle

    def find(self, name: str) -> bytes | None:
        with self._database.begin(buffers=False) as transaction:
            return transaction.get(name.encode())

    @cached_property
    def _own_stamp(self) -> str:
        return _stamp(self.root / "data.mdb")

    def stamp(self, name: str) -> str:
        return self._own_stamp if self.find(name) is not None else ""


def _stamp(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def _open_lmdb(root: Path) -> Any:
    try:
        import lmdb
    except ImportError:
        raise UserError(f"{str(root)!r} is an LMDB, which needs the package lmdb; install llmga[train].") from None
    try:
        return lmdb.open(str(root), readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as problem:
        raise UserError(f"the LMDB {str(root)!r} cannot be opened ({problem}); copy it again.") from None


def open_places(paths: Sequence[str]) -> list[Place]:
    """A place for each path; raises UserError for one that is not there."""
    for path in paths:
        if not Path(path).is_dir():
            raise UserError(f"the pictures {path!r} are not there; give folders or LMDBs with --images.")
    return [Lmdb(Path(path)) if Path(path, "data.mdb").is_file() else Folder(Path(path)) for path in paths]
