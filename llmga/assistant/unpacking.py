"""The files of a folder or a zip that may come from anybody, by their names and in little memory."""

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from llmga.files import file_in, plain_file

CHUNK = 1 << 20  # bytes that are read at once, and that a zip's list of members may have


@contextmanager
def unpacked(path: Path) -> Iterator[Callable[[str], IO[bytes]]]:
    """What opens the files below a folder, or those in a zip, by names that are ours.

    Raises: whatever a broken file or archive makes of it, and what is opened may do so, too.
    """
    if path.is_dir():
        yield lambda name: file_in(path, name).open("rb")
        return
    with archive_of(path) as archive:
        yield archive.open


@contextmanager
def archive_of(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip from anybody.

    Raises: as `unpacked`.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_Archive(plain_file(path)))
        archive = stack.enter_context(zipfile.ZipFile(file))
        _check(archive.infolist())
        yield archive


def content_of(stream: IO[bytes], limit: int) -> bytes:
    """What is in a stream; of more than `limit` bytes only that there are more."""
    content = io.BytesIO()
    while content.tell() <= limit and (chunk := stream.read(CHUNK)):
        content.write(chunk)
    return content.getvalue()


class _Archive(io.FileIO):
    """A zip's file of which nothing is read at once that is longer than a chunk, its list of members included, of
    which each would take hundreds of bytes of memory."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(CHUNK + 1 if size is None or not 0 <= size <= CHUNK else size)
        if len(content) > CHUNK:
            raise zipfile.BadZipFile(size)
        return content


def _check(members: Sequence[zipfile.ZipInfo]) -> None:
    """Raises: BadZipFile for a name that stands twice, and for methods that are rare and may want much memory."""
    plain = all(member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members)
    if not plain or len({member.filename for member in members}) < len(members):
        raise zipfile.BadZipFile
