"""Which files a source means, and tables among them."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmga.errors import UserError

TABLES = {".parquet": "parquet", ".arrow": "arrow"}
TEXTS = (".json", ".jsonl", ".ndjson")
SAVED = "state.json"  # `Dataset.save_to_disk` leaves it in its folder


def shards(named: str) -> list[Path]:
    """The files that a path, a pattern or a folder means, in the order of their names.

    Raises: UserError when there are none, or they are of different types.
    """
    path = Path(named)
    if path.is_dir() and not (path / SAVED).is_file():
        files = sorted(file for file in path.iterdir() if file.suffix in (*TEXTS, *TABLES))
    elif path.is_dir():
        files = sorted(path.glob("*.arrow"))
    else:
        files = [path] if path.is_file() else sorted(map(Path, glob.glob(named, recursive=True)))
    if not files:
        raise UserError(f"data file {named!r} does not exist; check the path (data/README.md shows the tree).")
    if locked := [str(file) for file in files if not os.access(file, os.R_OK)]:
        raise UserError(f"data file {locked[0]!r} may not be read; change its permissions.")
    if len(types := sorted({TABLES.get(file.suffix, "json") for file in files})) > 1:
        raise UserError(
            f"{named!r} holds files of different types ({', '.join(types)}); name one of them, as in *.json."
        )
    return files


def read_table(files: Sequence[Path]) -> Any:
    """Parquet and arrow files as one memory-mapped `datasets.Dataset` with pictures as bytes; None for JSON.

    Raises: UserError when they cannot be read.
    """
    if (kind := TABLES.get(files[0].suffix)) is None:
        return None
    from datasets import Image, load_dataset
    from datasets.exceptions import DatasetGenerationError
    from pyarrow import ArrowException

    try:
        table = load_dataset(kind, data_files=list(map(str, files)), split="train")
    except (DatasetGenerationError, ArrowException, OSError, ValueError) as problem:
        reason = str(problem.__cause__ or problem).splitlines()[0]
        raise UserError(f"{str(files[0])!r} cannot be read as {kind}: {reason}.") from None
    for name, feature in table.features.items():
        if isinstance(feature, Image):
            table = table.cast_column(name, Image(decode=False))
    return table


def rows_without_bytes(table: Any) -> Iterator[dict[str, Any]]:
    """The rows in order, without reading the pictures in them: each gives way to a name of its own."""
    embedded = [name for name, feature in table.features.items() if _holds_bytes(feature)]
    known = {name: table.data.column(name).is_valid() for name in embedded}
    for row, record in enumerate(table.remove_columns(embedded)):
        inside = {name: f"embedded {row}" for name in embedded if known[name][row].as_py()}
        yield {**without_nulls(record), **inside}


def _holds_bytes(feature: Any) -> bool:
    from datasets import Image, Value

    inner = feature.get("bytes") if isinstance(feature, dict) else None
    return isinstance(feature, Image) or (isinstance(inner, Value) and "binary" in inner.dtype)


def without_nulls(value: Any) -> Any:
    """A table gives every row all keys; those that a record never had are null, and go."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
