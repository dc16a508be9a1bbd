"""What changes when the content of training data does, whatever the files' names and dates."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

TAIL = 32  # bytes at the end of a picture that are read: checksums stand there, or the last of its content


def digest(parts: Iterable[str | bytes | None]) -> str:
    """32 hexadecimal digits that follow from all parts and their order."""
    whole = blake2b(digest_size=16)
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        whole.update(b"-1:" if content is None else b"%d:%b" % (len(content), content))
    return whole.hexdigest()


def picture_stand_ins(column: Any) -> Iterator[str | None]:
    """For each row of an Arrow column of pictures (bytes, or {bytes, path}) a text that differs when they do, or None.

    Made of size and end: a table of a million pictures is not read through for it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        struct = pa.types.is_struct(chunk.type)
        named = [field.name for field in chunk.type] if struct else ()
        bytes_of = pc.struct_field(chunk, "bytes") if struct else chunk
        paths = pc.struct_field(chunk, "path").to_pylist() if "path" in named else [None] * len(chunk)
        sizes = pc.binary_length(bytes_of).to_pylist()
        tails = pc.binary_slice(bytes_of, -TAIL, None).to_pylist()
        for size, tail, path in zip(sizes, tails, paths, strict=True):
            yield path if size is None else f"{size} bytes, …{tail.hex()}"
