"""Files and folders that are whole or not there at all, whatever ends the process; and fingerprints of weights."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmga.errors import UserError, system_reason

WEIGHTS = (".safetensors", ".bin", ".pth", ".ckpt")


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file beside its place and move it there, replacing what was there.

    Raises:
        OSError: leaving nothing.
    """
    _placed(Path(path), content, os.replace)


def write_new(path: str | Path, content: bytes) -> None:
    """The same for a place that must be free.

    Raises:
        FileExistsError: when it is taken.
        OSError: when it cannot be written, leaving nothing.
    """
    _placed(Path(path), content, _linked)


@contextmanager
def told_unwritten(out: str | Path, remedy: str = "make room, or give another place") -> Iterator[None]:
    """Around what writes to a place that a person named.

    Args:
        remedy: what follows the semicolon.

    Raises:
        UserError: the system does not take it, whatever library wrote.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as problem:
        raise UserError(f"{str(out)!r} cannot be written ({system_reason(problem)}); {remedy}.") from None


def below(path: str | Path) -> str:
    """Where a relative path starts, for a message about what is not there: launchers change folder.  "" of others."""
    return "" if Path(path).is_absolute() else f" in {os.getcwd()!r}"


def check_writable(path: str | Path) -> None:
    """See that something can be put at a place, before the work that ends there; folders above it need not be there.

    Raises:
        UserError: the system does not let it.
    """
    place = Path(path).absolute()
    above = next(folder for folder in place.parents if folder.exists())
    draft = _draft(above / "place")
    try:
        draft.mkdir()
        draft.rmdir()
    except OSError as problem:
        raise UserError(f"{str(path)!r} cannot be written ({system_reason(problem)}); give another place.") from None


def plain_file(path: str | Path) -> Path:
    """The same.

    Raises:
        OSError: where it is no file: to read from a pipe or a device might never end.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return Path(path)


def file_in(folder: Path, name: str) -> Path:
    """A file of a folder that may come from anybody.

    Raises:
        OSError: for what a link in it leads out to, too.
    """
    file = plain_file(folder / name)
    if not file.resolve().is_relative_to(folder.resolve()):
        raise PermissionError(errno.EACCES, "it leads out of the folder", str(file))
    return file


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A folder to write into; it takes its place, which must be free or an empty folder, at the end of the body.

    Raises:
        OSError: ; like whatever else ends the body, it leaves nothing.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    draft.mkdir()
    try:
        yield draft
        with suppress(FileNotFoundError):
            path.rmdir()
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")


def _placed(path: Path, content: bytes, move: Callable[[Path, Path], object]) -> None:
    draft = _draft(path)
    try:
        draft.write_bytes(content)
        _to_disk(draft)
        move(draft, path)
        _to_disk(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _linked(draft: Path, path: Path) -> None:
    """Two names for one file: unlike a move, it fails where the place is taken."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        path.open("xb").close()
        os.replace(draft, path)


def _to_disk(path: Path) -> None:
    """Ask the system to write it now: a power cut may otherwise find the name without the content."""
    with suppress(OSError):  # folders cannot be opened on Windows
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def fingerprint(path: str | Path) -> str | None:
    """SHA-256 over the names and digests of all weights files in a folder, or of one file; None without weights."""
    folder = Path(path)
    if folder.is_file():
        with folder.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    files = sorted(file for file in folder.rglob("*") if file.suffix in WEIGHTS) if folder.is_dir() else []
    if not files:
        return None
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(folder).as_posix()} {digest}\n".encode())
    return whole.hexdigest()
