"""Which files a source means, and tables among them."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llmga.errors import UserError
from llmga.files import below
from llmga.filetypes import only_archives
from llmga.fingerprints import picture_stand_ins
from llmga.llava.datasets import hub
from llmga.llava.datasets.file_kinds import endings, file_kind, holds_records

TABLES = ("parquet", "arrow")
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")  # shard-{0000..0011}.tar, as webdataset names its shards
MOST_SHARDS = 100_000
SAVED = "state.json"  # `Dataset.save_to_disk` leaves it in its folder


def shards(named: str) -> list[Path]:
    """The files that a path, a pattern, a folder or a data set of the Hub means, in the order of their names.

    Raises:
        UserError: when there are none, or they are of different types.
    """
    path = Path(named)
    if hub.is_meant(named):
        return hub.files_of(named)
    if path.is_dir() and not (path / SAVED).is_file():
        files = sorted(file for file in path.iterdir() if holds_records(file) and file.is_file())
    elif path.is_dir():
        files = sorted(path.glob("*.arrow"))
    else:
        files = [path] if path.is_file() else _matching(named)
    if not files:
        raise UserError(_nothing(path))
    if locked := [str(file) for file in files if not os.access(file, os.R_OK)]:
        raise UserError(f"data file {locked[0]!r} may not be read; change its permissions.")
    if len(types := sorted(set(map(file_kind, files)))) > 1:
        raise UserError(
            f"{named!r} holds files of different types ({', '.join(types)}); name one of them, as in *.json."
        )
    return files


def _matching(pattern: str) -> list[Path]:
    """The files that fit `*.jsonl` or `part-{00..11}.tar`."""
    if braces := BRACES.search(pattern):
        first, last = braces.groups()
        numbers = range(int(first), min(int(last), int(first) + MOST_SHARDS) + 1)
        each = (pattern[: braces.start()] + f"{number:0{len(first)}d}" + pattern[braces.end() :] for number in numbers)
        return [file for one in each for file in _matching(one)]
    return sorted(map(Path, glob.glob(pattern, recursive=True)))


def _nothing(path: Path) -> str:
    """Why a path means no file."""
    if not path.is_dir():
        return f"data file {str(path)!r} does not exist{below(path)}; check the path (data/README.md shows the tree)."
    wanted = f"holds no {endings()} files"
    if packed := only_archives(path):
        return f"data folder {str(path)!r} {wanted}, but archives such as {packed[0]!r}; unpack them."
    return f"data folder {str(path)!r} {wanted}; give another one, or a pattern that its files fit."


@dataclass(frozen=True)
class Table:
    """Parquet and arrow files, memory-mapped: two views of the same rows, each a `datasets.Dataset`.

    Attributes:
        words: the columns without pictures.
        pictures: those with pictures, one or a list of them in each row, as they are stored; None without any.
    """

    words: Any
    pictures: Any = None

    def __getitem__(self, row: int) -> dict[str, Any]:
        """A record, its pictures as {"bytes": …} or bytes."""
        stored = self.pictures[row].to_pylist()[0] if self.pictures else {}
        return without_nulls({**self.words[row], **stored})

    def rows_without_bytes(self) -> Iterator[dict[str, Any]]:
        """The records in order, without reading the pictures in them: each gives way to a name of its content."""
        names = self.pictures.column_names if self.pictures else []
        columns = [_stand_ins(self.pictures.data.column(name)) for name in names]
        for words, *inside in zip(self.words, *columns, strict=bool(self.words.column_names)):
            yield without_nulls({**words, **dict(zip(names, inside, strict=True))})


def _stand_ins(column: Any) -> Iterator[Any]:
    """For each row of a column of pictures a name, a list of names, or None; other pictures have other names."""
    import pyarrow as pa

    for chunk in column.chunks:
        if not (pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type)):
            yield from picture_stand_ins(chunk)
            continue
        names = picture_stand_ins(chunk.flatten())
        for count in chunk.value_lengths():
            yield list(islice(names, count.as_py() or 0))


def read_table(files: Sequence[Path]) -> Table | None:
    """Parquet and arrow files; None for others.

    Raises:
        UserError: when they cannot be read or hold nothing.
    """
    if (kind := file_kind(files[0])) not in TABLES:
        return None
    from datasets.exceptions import DatasetGenerationError
    from pyarrow import ArrowException, parquet

    named = str(files[0])
    try:
        empty = kind == "parquet" and not any(parquet.read_metadata(file).num_rows for file in files)
        table = None if empty else _mapped(kind, list(map(str, files)))
    except (DatasetGenerationError, ArrowException, OSError, ValueError) as problem:
        reason = str(problem.__cause__ or problem).splitlines()[0].rstrip(".")
        raise UserError(f"{named!r} cannot be read as {kind}: {reason}.") from None
    if not table:
        raise UserError(f"data file {named!r} holds no records.")
    embedded = [name for name, feature in table.features.items() if _holds_bytes(feature)]
    if not embedded:
        return Table(table)
    return Table(table.remove_columns(embedded), table.select_columns(embedded).with_format("arrow"))


def _mapped(kind: str, files: list[str]) -> Any:
    """A `datasets.Dataset` of these files: arrow streams, as the library itself keeps data sets, where they lie, others
    in its cache."""
    from datasets import Dataset, concatenate_datasets, load_dataset
    from pyarrow import ArrowInvalid

    if kind == "arrow":
        with suppress(ArrowInvalid):  # of Arrow's other format
            return concatenate_datasets([Dataset.from_file(file) for file in files])
    return load_dataset(kind, data_files=files, split="train", trust_remote_code=False)


def _holds_bytes(feature: Any) -> bool:
    """Whether a column holds pictures, one or a list of them in each row."""
    from datasets import Image, Value

    feature = getattr(feature, "feature", feature)
    inner = feature.get("bytes") if isinstance(feature, dict) else feature
    return isinstance(feature, Image) or (isinstance(inner, Value) and "binary" in inner.dtype)


def without_nulls(value: Any) -> Any:
    """A table gives every row all keys; those that a record never had are null, and go."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
