"""Records written in our own form: a file of JSON lines with a folder of pictures, or a parquet table with them inside.

Pictures keep their bytes; in a folder they are named by their content, so that one that is shown twice lies there once.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TextIO

from PIL import Image

from llmga.errors import UserError
from llmga.extras import require
from llmga.files import told_unwritten, whole_folder
from llmga.llava.datasets.base import Kind

ROWS_AT_ONCE, BYTES_AT_ONCE = 1000, 1 << 26  # of a table that are held in memory
DATA, PICTURES = "data.jsonl", "images"  # in a folder


class Writer(Protocol):
    """Takes records one after the other; `image` is a list of the bytes of picture files."""

    source: str  # what --data calls the result, without its kind

    def add(self, record: dict[str, Any]) -> None: ...


@contextmanager
def writer(out: Path, kind: Kind) -> Iterator[Writer]:
    """What writes there: `OUT.jsonl` (pictures in `OUT_images`), `OUT.parquet`, or a folder.

    What is not finished leaves nothing.

    Raises:
        UserError: the place is taken or cannot be written, or its ending is that of another type of file.
    """
    _check_free(out)
    with told_unwritten(out, "make room, or give another --to"), _writing(out, kind) as target:
        yield target


def _check_free(out: Path) -> None:
    if out.suffix not in ("", ".jsonl", ".parquet"):
        raise UserError(f"--to {str(out)!r} ends with {out.suffix!r}; use .jsonl, .parquet, or a folder.")
    used = (out, _pictures_beside(out)) if out.suffix == ".jsonl" else (out,)
    taken = next((path for path in used if path.exists()), None)
    if taken is not None and (taken.is_file() or any(taken.iterdir())):
        raise UserError(f"{str(taken)!r} is there already; give another --to, or move it away.")


@contextmanager
def _writing(out: Path, kind: Kind) -> Iterator[Writer]:
    single = "image" in kind.fields
    if not out.suffix:
        with whole_folder(out) as place, (place / DATA).open("w", encoding="utf-8") as file:
            yield _Lines(file, place / PICTURES, f"{out / DATA},images={out}", single=single)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as draft:
        place = Path(draft)
        if out.suffix == ".parquet":
            with _Table.open(place / out.name, kind, str(out)) as table:
                yield table
        else:
            with (place / out.name).open("w", encoding="utf-8") as file:
                pictures = place / _pictures_beside(out).name
                yield _Lines(file, pictures, f"{out},images={out.parent}", single=single)
        for one in sorted(place.iterdir(), key=lambda path: path.name == out.name):  # the data last
            one.replace(out.parent / one.name)


def _pictures_beside(out: Path) -> Path:
    return out.with_name(f"{out.stem}_{PICTURES}")


def ending_of(picture: bytes) -> str:
    """The usual ending of a picture file of this content."""
    with Image.open(io.BytesIO(picture)) as image:
        name = (image.format or "img").lower()
    return {"jpeg": "jpg", "tiff": "tif", "mpo": "jpg"}.get(name, name)


class _Lines:
    def __init__(self, file: TextIO, pictures: Path, source: str, *, single: bool):
        self._file, self._pictures, self._single, self.source = file, pictures, single, source

    def add(self, record: dict[str, Any]) -> None:
        names = [self._kept(picture) for picture in record.pop("image", [])]
        image = {} if not names else {"image": names[0] if self._single or len(names) == 1 else names}
        self._file.write(json.dumps({**image, **record}, ensure_ascii=False) + "\n")

    def _kept(self, picture: bytes) -> str:
        digest = blake2b(picture, digest_size=10).hexdigest()
        file = self._pictures / digest[:2] / f"{digest}.{ending_of(picture)}"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture)
        return file.relative_to(self._pictures.parent).as_posix()


class _Table:
    """A parquet file with the types of the `datasets` library, by which a viewer shows the pictures."""

    def __init__(self, writer: Any, schema: Any, kind: Kind, source: str):
        self._writer, self._schema, self._kind, self.source = writer, schema, kind, source
        self._rows: list[dict[str, Any]] = []
        self._size = 0

    @classmethod
    @contextmanager
    def open(cls, file: Path, kind: Kind, source: str) -> Iterator["_Table"]:
        from pyarrow import parquet

        schema = _schema(kind)
        with parquet.ParquetWriter(file, schema) as writer:
            table = cls(writer, schema, kind, source)
            yield table
            table._flush()

    def add(self, record: dict[str, Any]) -> None:
        shown = [{"bytes": picture, "path": None} for picture in record.pop("image", [])]
        single = "image" in self._kind.fields
        self._rows.append({**record, **({"image": shown[0]} if single else {"images": shown})})
        self._size += sum(len(one["bytes"] or b"") for one in shown)
        if len(self._rows) == ROWS_AT_ONCE or self._size > BYTES_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._size = [], 0


def _schema(kind: Kind) -> Any:
    datasets: Any = require("datasets", "a parquet table")
    text = datasets.Value("string")
    if "conversations" in kind.fields:
        turns = datasets.List({"from": text, "value": text})
        return datasets.Features(
            {"id": text, "images": datasets.List(datasets.Image()), "conversations": turns}
        ).arrow_schema
    columns = {name: datasets.Image() if name == "image" else text for name in kind.fields}
    return datasets.Features({"id": text, **columns}).arrow_schema
