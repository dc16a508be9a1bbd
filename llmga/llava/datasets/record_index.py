"""The index of a file of records: what is kept of each beside its text, so that no reader has to parse it for that."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from llmga.llava.datasets.base import Kind, Record
from llmga.llava.datasets.recognition import fault
from llmga.llava.datasets.turns import picture_names, words_of

VERSION = 7  # of the files
BATCH = 8192  # entries that are written at once: each column is a stretch of some pages


def index_entry(text: str | None, record: Any, kind: Kind, problem: str = "") -> dict[str, Any]:
    """What is kept of a record, by column, and its text."""
    told = problem or fault(kind, record)
    known = record if isinstance(record, Mapping) else {}
    said = json.dumps({key: _lasting(known[key]) for key in known if key != "id"}, sort_keys=True, default=str)
    return {
        "text": "null" if problem else text,
        "characters": characters(known),
        "bytes": sum(map(_bytes, texts_of(known))),
        "turns": _turns(known),
        "pictures": len(picture_names(known)),
        "digest": int.from_bytes(blake2b(said.encode(), digest_size=8).digest(), "little", signed=True),
        "fault": told or None,
    }


def write_index(path: Path, texts: Path, entries: Iterator[dict[str, Any]]) -> None:
    """The texts one after the other, and an Arrow stream of the entries, in batches that fit the memory."""
    import pyarrow as pa

    columns = {"start": pa.int64(), "size": pa.int32(), "characters": pa.int32(), "bytes": pa.int64(),
               "turns": pa.int32(), "pictures": pa.int16(), "digest": pa.int64(), "fault": pa.string()}  # fmt: skip
    schema = pa.schema(columns)
    with texts.open("wb") as said, pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for rows in _batches(_placed(entries, said)):
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema))


def _placed(entries: Iterator[dict[str, Any]], file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Write each text, and put its place in bytes into the entry."""
    at = 0
    for entry in entries:
        text = (entry.pop("text") or "").encode()
        file.write(text + b"\n")
        yield {**entry, "start": at, "size": len(text)}
        at += len(text) + 1


def _batches(entries: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for entry in entries:
        rows.append(entry)
        if len(rows) == BATCH:
            yield rows
            rows = []
    if rows:
        yield rows


def characters(record: Record) -> int:
    """Characters of all that is said in a record."""
    return sum(map(len, texts_of(record)))


def texts_of(record: Record) -> list[str]:
    """All that is said in a record."""
    turns = record.get("conversations")
    if turns and isinstance(turns, Sequence):
        return [str(words_of(turn) or "") for turn in turns if isinstance(turn, Mapping)]
    return [str(record[key]) for key in record if key != "image"]


def _turns(record: Record) -> int:
    said = record.get("conversations")
    return len(said) if isinstance(said, (list, tuple)) else 0


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _lasting(value: Any) -> Any:
    """A picture in an archive without the folder of the archive, which may move, and without what only messages say."""
    if isinstance(value, Mapping) and "file" in value:
        return {key: told for key, told in value.items() if key != "member"} | {"file": Path(str(value["file"])).name}
    return [_lasting(one) for one in value] if isinstance(value, list) else value
