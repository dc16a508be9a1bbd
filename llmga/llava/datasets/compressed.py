"""Files as they are, or as gzip, zstd, bzip2 or xz packed them: read as a stream, and never more than is believable."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from llmga.errors import UserError
from llmga.extras import require
from llmga.registry import Registry

HEAD = 512  # bytes in which a type shows
ALWAYS = 1 << 28  # bytes that any file may unpack to
RATIO = 200  # beyond them, how often its own size; JSON packs to a tenth or so


def _zstd(path: Path) -> Any:
    """Arrow's reader knows a file that breaks off, and refuses one that asks for much memory."""
    return require("pyarrow", f"the zstd file {str(path)!r}").input_stream(str(path), compression="zstd")


@dataclass(frozen=True)
class Compression:
    """A way of packing one file.

    Attributes:
        suffixes: of names, behind that of what is packed.
        mark: the first bytes.
        open: a file -> its content as a file of bytes.
    """

    suffixes: tuple[str, ...]
    mark: bytes
    open: Callable[[Path], Any]


COMPRESSIONS: Registry[Compression] = Registry("compression", {
    "gzip": Compression((".gz",), b"\x1f\x8b", gzip.GzipFile),
    "zstd": Compression((".zst", ".zstd"), b"\x28\xb5\x2f\xfd", _zstd),
    "bzip2": Compression((".bz2",), b"BZh", bz2.BZ2File),
    "xz": Compression((".xz",), b"\xfd7zXZ\0", lzma.LZMAFile),
})  # fmt: skip
SUFFIXES: tuple[str, ...] = tuple(suffix for row in COMPRESSIONS.values() for suffix in row.suffixes)


def unpacked_name(name: str) -> str:
    """The name without the ending of a compression."""
    return name.rpartition(".")[0] if name.lower().endswith(SUFFIXES) else name


def compression(path: Path) -> str | None:
    """The row of `COMPRESSIONS` that a file's first bytes name, whatever its own name; None for a plain one."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for name, row in COMPRESSIONS.items() if head.startswith(row.mark)), None)


def open_bytes(path: Path) -> BinaryIO:
    """The content of a file, unpacked where it is packed.

    Raises:
        UserError: when reading, for a packed file that is damaged or unpacks to more than anybody means.
    """
    if (name := compression(path)) is None:
        return path.open("rb")
    return cast(BinaryIO, io.BufferedReader(_Bounded(path, name), 1 << 16))


def open_text(path: Path) -> TextIO:
    """The same as text in UTF-8, with or without a byte order mark."""
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline=None)


class _Bounded(io.RawIOBase):
    """An unpacked stream with an end, and with errors that are sentences."""

    def __init__(self, path: Path, name: str):
        self._path, self._name, self._file = path, name, COMPRESSIONS[name].open(path)
        self._left = max(ALWAYS, RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override] # any writable buffer
        try:
            content = self._file.read(len(buffer))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as problem:
            raise self._damaged(problem) from None
        self._left -= len(content)
        if self._left < 0:
            raise UserError(
                f"data file {str(self._path)!r} unpacks to more than {RATIO} times its size, which no data do; "
                "unpack it yourself if it is sound."
            )
        buffer[: len(content)] = content
        return len(content)

    def _damaged(self, problem: Exception) -> UserError:
        return UserError(f"data file {str(self._path)!r} is a {self._name} file that is damaged or breaks off "
                         f"({problem}); fetch it again.")  # fmt: skip

    def close(self) -> None:
        self._file.close()
        super().close()
