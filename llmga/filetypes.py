"""What a file is, whatever its name says, for messages better than those of a reader of another type."""

import os
from dataclasses import dataclass
from pathlib import Path

HEAD = 512  # bytes in which every one of these types shows


@dataclass(frozen=True)
class FileType:
    """A type of file, known by its first bytes.

    Attributes:
        said: what it is, with its article.
        remedy: what makes it readable, in words that follow a semicolon.
        marks: bytes that it starts with, one of them.
        at: where they stand.
    """

    said: str
    remedy: str
    marks: tuple[bytes, ...]
    at: int = 0

    def fits(self, head: bytes) -> bool:
        """Whether a file that begins so is of this type."""
        return head[self.at :].startswith(self.marks)


UNPACK = "unpack it and give what is in it"
ARCHIVES = (
    FileType("a gzip file", "unpack it (gzip -d) and give what is in it", (b"\x1f\x8b",)),
    FileType("a zip archive", "unpack it (unzip) and give what is in it", (b"PK\x03\x04", b"PK\x05\x06")),
    FileType("a tar archive", "unpack it (tar -xf) and give what is in it", (b"ustar",), 257),
    FileType("a bzip2 file", UNPACK, (b"BZh",)),
    FileType("an xz file", UNPACK, (b"\xfd7zXZ\0",)),
    FileType("a zstd file", UNPACK, (b"\x28\xb5\x2f\xfd",)),
    FileType("a 7z archive", UNPACK, (b"7z\xbc\xaf\x27\x1c",)),
    FileType("a rar archive", UNPACK, (b"Rar!",)),
)
OTHERS = (
    FileType("a parquet file", "let its name end with .parquet", (b"PAR1",)),
    FileType("an arrow file", "let its name end with .arrow", (b"ARROW1", b"\xff\xff\xff\xff")),
    FileType("a text in UTF-16", "save it in UTF-8", (b"\xff\xfe", b"\xfe\xff")),
    FileType("a pointer of Git LFS", "fetch the file itself with git lfs pull", (b"version https://git-lfs",)),
    FileType("a web page", "download the file itself", (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")),
)
ARCHIVE_ENDINGS = (".gz", ".tgz", ".zip", ".tar", ".bz2", ".xz", ".zst", ".7z", ".rar")


def file_type(path: str | Path) -> FileType | None:
    """The type of a file that is none of text in UTF-8; None for others, and for what cannot be read."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    return type_of(head)


def type_of(head: bytes) -> FileType | None:
    """The same of the first bytes of a file."""
    return next((kind for kind in (*ARCHIVES, *OTHERS) if kind.fits(head)), None)


def other_separator(header: str, by: str) -> str | None:
    """What seems to part the columns of a table's first line instead of `by`; None where nothing does."""
    return next((sign for sign in ";\t,|" if sign in header), None) if by not in header else None


def only_archives(folder: str | Path) -> list[str]:
    """The names of what lies in a folder when all of it is packed; empty at the first that is not."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.lower().endswith(ARCHIVE_ENDINGS) or entry.is_dir():
                return []
            names.append(entry.name)
    return sorted(names)
