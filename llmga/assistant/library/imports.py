"""Conversations made of what other places have: saved sessions, pictures, folders and zips of pictures.

InvokeAI's canvas projects (`.invk`) are zips whose pictures lie in `images/`; those are taken, its layers, masks and
parameters mean nothing here.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from PIL import Image

from llmga.assistant.image_files import read_bytes
from llmga.assistant.record import Record
from llmga.assistant.session import Exchange, GeneratedImage, Session, Turn
from llmga.assistant.session_file import INDEX, LARGEST_PICTURE, SavedSession, load_session
from llmga.assistant.settings import Settings
from llmga.assistant.unpacking import archive_of, content_of
from llmga.errors import UserError
from llmga.images import open_image, size_of
from llmga.limits import MOST_PIXELS
from llmga.llava.conversation import Conversation
from llmga.llava.generation_prompt import END, START

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
ZIPS = (".zip", ".invk")
MOST = 200  # pictures at once
TAKEN = "OK."  # what is answered to a picture that is put into a conversation

Named = tuple[str, bytes]


def session_of(paths: Sequence[Path], settings: Settings) -> SavedSession:
    """A session that was saved; or one in which every picture stands, with the words that led to it where it has a
    record of ours, under its name otherwise.

    Args:
        paths: a saved session alone; or pictures, folders and zips of pictures.
        settings: of a session that is made of pictures.

    Raises:
        UserError: nothing can be read, or it is too large.
    """
    if len(paths) == 1 and _is_session(paths[0]):
        return load_session(paths[0])
    session = Session(secrets.randbelow(2**32), settings=settings)
    for count, (name, image, record) in enumerate(_pictures(paths), 1):
        if count > MOST:
            raise UserError(f"these are over {MOST} pictures; import fewer at once.")
        session = _with(session, PurePosixPath(name).stem, image, record)
    if not session.exchanges:
        raise UserError("no picture was found there; give PNG, JPEG or WEBP files, a zip of them, or a saved session.")
    return SavedSession(session, (), {})


def _is_session(path: Path) -> bool:
    if path.is_dir():
        return (path / INDEX).is_file()
    if path.suffix.lower() not in ZIPS:
        return False
    with suppress(Exception), archive_of(path) as archive:
        return INDEX in archive.namelist() or not _members(archive.namelist())
    return True  # what cannot be opened is told by who reads sessions


def _pictures(paths: Sequence[Path]) -> Iterator[tuple[str, Image.Image, Record | None]]:
    pixels = 0
    for name, content in _files(paths):
        pixels += size_of(content)[0] * size_of(content)[1]
        if pixels > MOST_PIXELS:
            raise UserError(f"these pictures have over {MOST_PIXELS / 1e6:g} million pixels together; import fewer.")
        yield name, open_image(content, exact=True, name=f"picture {name!r}"), read_bytes(content)


def _files(paths: Sequence[Path]) -> Iterator[Named]:
    for path in paths:
        if path.is_dir():
            files = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
            yield from _files(files)
        elif path.suffix.lower() in ZIPS:
            yield from _unpacked(path)
        else:
            yield path.name, path.read_bytes()


def _unpacked(path: Path) -> Iterator[Named]:
    try:
        with archive_of(path) as archive:
            for name in _members(archive.namelist()):
                with archive.open(name) as stream:
                    content = content_of(stream, LARGEST_PICTURE)
                yield name, content
    except UserError:
        raise
    except Exception:  # archives may be broken in any way
        raise UserError(f"{str(path)!r} is no readable zip; give another one.") from None


def _members(names: Sequence[str]) -> list[str]:
    """Those that are pictures, and not what some system puts beside them."""
    shown = (name for name in names if not any(part.startswith((".", "__")) for part in PurePosixPath(name).parts))
    return sorted(name for name in shown if PurePosixPath(name).suffix.lower() in SUFFIXES)


def _with(session: Session, name: str, image: Image.Image, record: Record | None) -> Session:
    """The session and a picture more."""
    request = name if record is None else record.request or name
    reply = TAKEN if record is None else f"{START} {record.prompt} {END}"
    talk: Conversation = session.conversation.say("user", request).say("assistant", reply)
    # A person sees the picture; the language model does once it is asked about.
    turn = Turn(request, (image,) if record is None else ())
    painted = () if record is None else (GeneratedImage(image, record, None, 0),)
    start, end = len(session.conversation.messages), len(talk.messages)
    exchange = Exchange(turn, start, end, None, painted)
    return Session(session.seed, 0, 0, talk, (*session.exchanges, exchange), session.settings)
