"""Records of any number in little memory: files on disk that are looked into.

JSON has no fixed columns (`image` may be a name, a list or missing), so each record is kept as the text that it was.
Beside it stands, as an Arrow table, what every reader wants to know without parsing: where the text is, how long it
is, how many pictures it has, whether another record is the same, and what is wrong with it.  Tables (parquet, arrow)
stay tables; only that index is made for them.  Made once per file and kept in the cache of the `datasets` library
(HF_DATASETS_CACHE).

Texts are read, not mapped: a map of the file would show in a process's memory whatever it once touched.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from llmga.errors import UserError
from llmga.extras import require
from llmga.fingerprints import digest
from llmga.llava.datasets.base import Record, UnusableRecord
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.layouts import LAYOUTS
from llmga.llava.datasets.left_out import MALFORMED
from llmga.llava.datasets.mapping import renamed, renaming
from llmga.llava.datasets.record_index import VERSION, index_entry, write_index
from llmga.llava.datasets.shards import Table, read_table, shards
from llmga.llava.datasets.sources import DataSource

TEXTS = ".txt"
TOO_MANY = 0.5  # share of records that are not of the kind, at which the kind or the file must be wrong
EDGE = 1 << 16  # bytes at both ends of a file that its fingerprint reads


class Records(Sequence[Record]):
    """The records of a source; any of them is read from the disk when it is asked for.

    What could not be parsed raises `UnusableRecord` then, with what is wrong with it.

    Args:
        path: the index, see `write_index`; the texts lie beside them.
        table: the rows themselves when they came as a table.
        source: how those are written.
    """

    def __init__(self, path: Path, source: DataSource, table: Table | None = None):
        from datasets import Dataset

        self._entries, self._table, self._source = Dataset.from_file(str(path)), table, source
        self._path, self._texts = path, FileIO(path.with_suffix(TEXTS))

    def __getstate__(self) -> dict[str, Any]:
        """With the name of the open file, which a process that does not inherit it opens anew."""
        return {**self.__dict__, "_texts": self._texts.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _texts=FileIO(state["_texts"]))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, row: int) -> Record:  # type: ignore[override] # one row at a time, never a slice
        if self._table is None:
            if (record := json.loads(self._text(int(row)))) is None:  # of what could not be parsed nothing is kept
                raise UnusableRecord(MALFORMED) from UserError(f"a record {self._column('fault')[int(row)].as_py()}")
            return record
        return _adapted(self._table[int(row)], self._source)

    def characters(self) -> np.ndarray:
        """Characters of each record's words, int32 (records,)."""
        return self._column("characters").to_numpy()

    def word_bytes(self) -> np.ndarray:
        """The same in bytes of UTF-8, int64 (records,)."""
        return self._column("bytes").to_numpy()

    def turns(self) -> np.ndarray:
        """Turns of each record, 0 of one that is no dialogue, int32 (records,)."""
        return self._column("turns").to_numpy()

    def pictures(self) -> np.ndarray:
        """Pictures of each record, int16 (records,)."""
        return self._column("pictures").to_numpy()

    def digests(self) -> np.ndarray:
        """Equal for records that say the same, int64 (records,)."""
        return self._column("digest").to_numpy()

    def kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What follows from the records and is costly: made by one process, kept beside the index under a name."""
        from filelock import FileLock

        place = self._path.with_name(f"{self._path.stem}.{name}.npy")
        try:
            with FileLock(place.with_suffix(".lock")):
                if not place.is_file():
                    np.save(part := place.with_suffix(".part.npy"), make())
                    part.replace(place)
                return np.load(place)
        except OSError as problem:
            raise _no_room(str(place.parent), self._source.file, problem) from None

    def digest(self) -> str:
        """Of all records in their order, pictures in folders apart."""
        return digest([self.digests().tobytes()])

    def faulty(self) -> int:
        """How many records are not of their kind."""
        return len(self) - self._column("fault").null_count

    def faults(self) -> Iterator[tuple[int, str]]:
        """(row, what is wrong) of each record that is not of its kind."""
        for row in np.flatnonzero(self._column("fault").is_valid().to_numpy()):
            yield int(row), self._column("fault")[int(row)].as_py()

    def _text(self, row: int) -> bytes:
        """Read at a place of its own, so that processes may share one open file."""
        start, size = (self._column(name)[row].as_py() for name in ("start", "size"))
        return os.pread(self._texts.fileno(), size, start)

    def _column(self, name: str) -> Any:
        return self._entries.data.column(name)


def open_records(source: DataSource, *, strict: bool = True) -> Records:
    """The records of a source, read once and then kept on disk.

    Args:
        strict: a file whose records are mostly not of the kind is refused; the few of others are `Records.faults`.

    Raises:
        UserError: when the file is missing, unreadable, empty, or (strict) at least half of it is not of its kind.
    """
    require("datasets", "reading records")
    files = shards(source.file)
    cached = _cache_file(source, files)
    table = read_table(files)
    if not _kept(cached):
        _write_once(cached, source, files, table)
    records = Records(cached, source, table)
    if not len(records):
        raise UserError(f"data file {source.file!r} holds no records.")
    if strict and (faulty := records.faulty()) >= TOO_MANY * len(records):
        row, fault = next(records.faults())
        share = f"{faulty} of {len(records)} records cannot be learnt from; from half of them on a file is refused"
        raise UserError(f"record {row} of {source.file!r} {fault} ({share}).")
    return records


def _cache_file(source: DataSource, files: Sequence[Path]) -> Path:
    """Named by what is read and how, then by its state: a file that changed gets a new index."""
    from datasets import config

    states = []
    for file in files:
        about = file.stat()
        states.append((about.st_size, about.st_mtime_ns, about.st_ctime_ns, _edges(file)))
    place = _hash(
        [str(file.resolve()) for file in files],
        source.kind,
        KINDS[source.kind].fields,
        source.layout,
        renaming(source.columns),
        VERSION,
    )
    return Path(config.HF_DATASETS_CACHE) / "llmga" / f"{place}-{_hash(states)}.arrow"


def _kept(cached: Path) -> bool:
    return cached.is_file() and cached.with_suffix(TEXTS).is_file()


def _edges(file: Path) -> str:
    with file.open("rb") as opened:
        head = opened.read(EDGE)
        opened.seek(max(0, file.stat().st_size - EDGE))
        return blake2b(head + opened.read(EDGE), digest_size=8).hexdigest()


def _hash(*parts: Any) -> str:
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _write_once(cached: Path, source: DataSource, files: Sequence[Path], table: Table | None) -> None:
    """One process writes, the others wait; what an earlier state of the same files left goes."""
    from filelock import FileLock

    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cached.with_suffix(".lock")):
            if not _kept(cached):
                part = cached.with_suffix(".part")
                write_index(part, cached.with_suffix(TEXTS), _entries(source, files, table))
                for old in cached.parent.glob(f"{cached.name.partition('-')[0]}-*"):
                    if old.stem != cached.stem:
                        old.unlink()
                part.replace(cached)
    except OSError as problem:
        raise _no_room(str(cached.parent), source.file, problem) from None


def _no_room(place: str, file: str, problem: OSError) -> UserError:
    return UserError(
        f"the records of {file!r} cannot be kept in {place!r} ({problem.strerror}); "
        "make room there, or set HF_DATASETS_CACHE to another folder."
    )


def _adapted(record: dict[str, Any], source: DataSource) -> dict[str, Any]:
    return LAYOUTS[source.layout].adapt(renamed(record, renaming(source.columns)), KINDS[source.kind])


def _entries(source: DataSource, files: Sequence[Path], table: Table | None) -> Iterator[dict[str, Any]]:
    kind = KINDS[source.kind]
    if table is not None:
        yield from (index_entry(None, _adapted(record, source), kind) for record in table.rows_without_bytes())
        return
    for file in files:
        for item in LAYOUTS[source.layout].items(file, kind, source.columns):
            yield index_entry(item.text, item.value, kind, item.problem)
