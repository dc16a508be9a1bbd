"""Types of files that hold records.  A new type is a row of `FILE_KINDS`."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmga.errors import UserError
from llmga.filetypes import other_separator
from llmga.llava.datasets import json_stream, webdataset
from llmga.llava.datasets.compressed import SUFFIXES, open_bytes, unpacked_name
from llmga.llava.datasets.json_stream import Item
from llmga.registry import Registry

ROW = 1 << 26  # bytes of the longest row of a table in text: a picture may stand in it


@dataclass(frozen=True)
class FileKind:
    """A type of file that holds records.

    Attributes:
        said: what it is.
        suffixes: of names.
        items: a file -> its records; None for tables, which `read_table` maps into memory.
        packed: whether it may also be packed, as in .json.gz.
    """

    said: str
    suffixes: tuple[str, ...]
    items: Callable[[Path], Iterator[Item]] | None
    packed: bool = True


def separated(by: str) -> Callable[[Path], Iterator[Item]]:
    """A reader of tables in text: the first line names the columns, an empty cell is no key."""

    def items(path: Path) -> Iterator[Item]:
        import pyarrow as pa
        from pyarrow import csv

        json_stream.check_text(path, meant="")
        with open_bytes(path) as file:
            names = _header(file.readline(ROW), by, path)
        with open_bytes(path) as file:
            try:
                reader = csv.open_csv(
                    file,
                    csv.ReadOptions(block_size=ROW),
                    csv.ParseOptions(delimiter=by, newlines_in_values=True),
                    csv.ConvertOptions(
                        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
                    ),
                )
                for batch in reader:
                    yield from map(_row, batch.to_pylist())
            except pa.ArrowException as problem:
                if "UTF8" in str(problem):
                    raise _not_utf8(path) from None
                told = str(problem).splitlines()[0].rstrip(".")
                raise UserError(f"data file {str(path)!r} is no table of text: {told}.") from None

    return items


def _header(line: bytes, by: str, path: Path) -> list[str]:
    import csv

    try:
        names = next(csv.reader([line.decode("utf-8-sig")], delimiter=by), [])
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except csv.Error:
        names = []
    if not names:
        raise UserError(f"data file {str(path)!r} has no first line with the names of its columns; write one.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"data file {str(path)!r} names the column {twice!r} twice; give each one name.")
    if len(names) == 1 and (other := other_separator(names[0], by)):
        raise UserError(f"data file {str(path)!r} parts the columns of its first line with {other!r} instead of "
                        f"{by!r}; save it with {by!r}.")  # fmt: skip
    return names


def _not_utf8(path: Path) -> UserError:
    return UserError(f"data file {str(path)!r} is not in UTF-8; save it so.")


def _row(row: dict[str, Any]) -> Item:
    record = {name: said for name, said in row.items() if said is not None}
    return Item(json.dumps(record), record)


FILE_KINDS: Registry[FileKind] = Registry("type of data file", {
    "json": FileKind("a JSON list, or an object a line", (".json", ".jsonl", ".ndjson"), json_stream.items),
    "csv": FileKind("a table of text, commas between its cells", (".csv",), separated(",")),
    "tsv": FileKind("a table of text, tabs between its cells", (".tsv", ".tab"), separated("\t")),
    "webdataset": FileKind("a tar archive in which files of one key stand side by side", (".tar",), webdataset.items,
        packed=False),
    "parquet": FileKind("a parquet table", (".parquet",), None, False),
    "arrow": FileKind("an arrow table, also as `save_to_disk` leaves it", (".arrow",), None, False),
})  # fmt: skip


def file_kind(path: Path) -> str:
    """The row of `FILE_KINDS` that a name tells; JSON for others, whose content is looked at."""
    plain = unpacked_name(path.name)
    found = next((name for name, row in FILE_KINDS.items() if plain.lower().endswith(row.suffixes)), "json")
    return found if plain == path.name or FILE_KINDS[found].packed else "json"


def holds_records(path: Path) -> bool:
    """Whether a file's name is one of those that hold records."""
    name = path.name.lower()
    plain = unpacked_name(name)
    return any(plain.endswith(row.suffixes) and (row.packed or plain == name) for row in FILE_KINDS.values())


def endings() -> str:
    """All endings, for a message."""
    return (
        ", ".join(suffix for row in FILE_KINDS.values() for suffix in row.suffixes) + f" (also {', '.join(SUFFIXES)})"
    )
