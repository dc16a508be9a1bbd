"""A session on disk, as a folder or a zip: written whole or not at all, loaded and gone on with anywhere.

    session.json          all but pixels; pictures are named by `picture_hash`
    pictures/<hash>.png   every picture and mask once, lossless (.tif where PNG has no such mode)

In `session.json` stand: `format`, `version`, `models` (with hashes), `seed`, `turns`, `painted`, `settings`,
`conversation` (what the language model has read), `exchanges` (what the person gave and what was painted, each picture
with its record), and `pictures`, the edit graph: for each picture its file, what it is (given, mask, shown, painted)
and, of a painted one, the task, parent and mask.

Pictures are written first and never changed; `session.json` is moved into place last.  So a process that is killed
while it saves leaves the session as it was saved before.
"""

import io
import json
import math
import re
import reprlib
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated, Any, Protocol

from PIL import Image

from llmga.assistant.record import ModelMark, Name, picture_hash
from llmga.assistant.session import Exchange, GeneratedImage, Region, Session, Turn
from llmga.assistant.settings import Settings
from llmga.assistant.unpacking import content_of, unpacked
from llmga.compositing import able_to_hold
from llmga.deep import into_png, levels
from llmga.diffusers.families import EDITING
from llmga.errors import UserError
from llmga.files import write_whole
from llmga.images import open_image, size_of
from llmga.limits import MOST_PIXELS
from llmga.llava.conversation import Conversation, Message
from llmga.typed import parsed, typed, up_to

FORMAT, VERSION, INDEX = "llmga-session", 1, "session.json"
LARGEST_INDEX, LARGEST_PICTURE = 16_000_000, 256_000_000  # bytes that are read of a file from somewhere
MOST_BYTES = 512_000_000  # of all pictures together
HASH = re.compile(r"[0-9a-f]{64}")
PNG_MODES, TIFF_MODES = ("L", "LA", "RGB", "RGBA", "I;16"), ("CMYK", "I", "F", "I;16B")
KINDS = {".png": ("PNG",), ".tif": ("TIFF",)}  # what a picture's file may be
RELABELLED = ("YCbCr", "HSV", "LAB")  # no file holds these plainly: their channels are written as if they were RGB


@dataclass(frozen=True)
class SavedSession:
    """A session as it was saved; an assistant goes on with it once it is set: `assistant.session = saved`.

    Attributes:
        session: the session as data.
        models: which models took part.
        pictures: every picture by its hash.
    """

    session: Session
    models: tuple[ModelMark, ...]
    pictures: Mapping[str, Image.Image] = field(repr=False)


class HasSession(Protocol):
    """What has a session and says of which models it is: an `Assistant`, a `SavedSession`."""

    @property
    def session(self) -> Session:
        """The session as data."""
        ...

    @property
    def models(self) -> tuple[ModelMark, ...]:
        """Which models took part."""
        ...


def save_session(path: str | Path, session: Session | HasSession, models: tuple[ModelMark, ...] = ()) -> Path:
    """Write a session into a folder, or with the suffix .zip into one file; one that is there is replaced.

    Args:
        session: an assistant; or the session alone, as data.
        models: which ones took part, where the session is alone.

    Raises:
        UserError: it cannot be written; what was saved before is then still there.
    """
    path = _place(path)
    state = getattr(session, "session", session)
    if not isinstance(state, Session):
        raise UserError(f"the session is of type {type(session).__name__}; give an assistant or its session.")
    writer = SessionWriter()
    content = writer.index(state, models or getattr(session, "models", ()))
    try:
        if path.suffix.lower() == ".zip":
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, _zipped({INDEX: content, **{name: make() for name, make in writer.files.items()}}))
        else:
            _into_folder(path, content, writer.files)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise UserError(f"the session cannot be saved in {str(path)!r} ({reason}); give another place.") from None
    return path


def load_session(path: str | Path, most_pixels: int = MOST_PIXELS) -> SavedSession:
    """Read a session, which may come from anybody.

        assistant.session = llmga.load_session("story.zip")

    Args:
        most_pixels: of all its pictures together; each pixel takes four bytes of memory.

    Raises:
        UserError: when there is no session, a damaged one, one of a later version, or one that is too large; then
            nothing of it was taken over.
    """
    with _read(path, most_pixels) as reader:
        return reader.saved()


def load_pictures(path: str | Path, names: Collection[str]) -> Mapping[str, Image.Image]:
    """Those of these pictures that a session has, by hash; nothing else of it is decoded.

    Raises:
        UserError: as `load_session`.
    """
    with _read(path, MOST_PIXELS) as reader:
        return reader.some(names)


def differences(saved: tuple[ModelMark, ...], here: tuple[ModelMark, ...]) -> list[str]:
    """In which models a session was saved with others than these, one sentence each."""
    own = {mark.role: mark for mark in here}
    return [
        f"the session was made with the {mark.role} model {mark.name!r}, here it is "
        f"{own[mark.role].name if mark.role in own else 'none'!r} with other weights."
        for mark in saved
        if mark.role not in own or own[mark.role].sha256 != mark.sha256
    ]


def _place(path: str | Path) -> Path:
    """Raises: UserError for what names no place."""
    if not isinstance(path, str | Path):
        raise UserError(f"the place of the session is of type {type(path).__name__}; give a path first.")
    if not str(path):
        raise UserError("the name of the session is empty; give a folder or a .zip file.")
    return Path(path)


def _into_folder(path: Path, content: bytes, files: Mapping[str, Callable[[], bytes]]) -> None:
    (path / "pictures").mkdir(parents=True, exist_ok=True)
    for name, make in files.items():
        if not (path / name).exists():
            write_whole(path / name, make())
    write_whole(path / INDEX, content)


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time: the same session, the same bytes
    return buffer.getvalue()


@dataclass
class SessionWriter:
    """A session as plain values.

    Attributes:
        hashed: `picture_hash`, or what remembers what that said.
        graph: what is told of each picture, by hash.
        files: what writes each picture's file, by name.
    """

    hashed: Callable[[Image.Image], str] = picture_hash
    graph: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, Callable[[], bytes]] = field(default_factory=dict)

    def index(self, state: Session, models: tuple[ModelMark, ...]) -> bytes:
        content = {
            **self.head(state, models),
            "exchanges": [self.exchange(exchange) for exchange in state.exchanges],
            "conversation": self.conversation(state.conversation),
            "pictures": self.graph,
        }
        return json.dumps(content, ensure_ascii=False, indent=1).encode(errors="replace")

    def head(self, state: Session, models: tuple[ModelMark, ...]) -> dict[str, Any]:
        """All but what was said and painted."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "models": [asdict(mark) for mark in models],
            "seed": state.seed,
            "turns": state.turns,
            "painted": state.painted,
            "settings": self.settings(state.settings),
        }

    def picture(self, image: Image.Image, kind: str, **told: Any) -> str:
        """Its hash; a picture that was painted stays one when it is given or shown again."""
        name = self.hashed(image)
        stored = storable(image)
        file = f"pictures/{name}.{'png' if stored.mode in PNG_MODES else 'tif'}"
        entry = self.graph.setdefault(name, {"file": file, "kind": kind, "mode": image.mode})
        if kind == "painted":
            entry.update(kind=kind, **told)
        self.files.setdefault(file, lambda: lossless(stored))
        return name

    def settings(self, chosen: Settings) -> dict[str, Any]:
        pictures = [image and self.picture(image, "given") for image in chosen.control_images]
        return asdict(replace(chosen, control_images=())) | {"control_images": pictures}

    def turn(self, turn: Turn) -> dict[str, Any]:
        return {
            "text": turn.text,
            "images": [self.picture(image, "given") for image in turn.images],
            "mask": turn.mask and self.picture(turn.mask, "mask"),
            "outpaint": turn.outpaint,
            "fill": turn.fill,
        }

    def exchange(self, exchange: Exchange) -> dict[str, Any]:
        return {
            "turn": self.turn(exchange.turn),
            "start": exchange.start,
            "end": exchange.end,
            "region": self.region(exchange.region),
            "paintings": [self.painting(painting) for painting in exchange.paintings],
        }

    def region(self, region: Region | None) -> dict[str, Any] | None:
        return (
            None
            if region is None
            else {
                "parent": self.picture(region.parent, "given"),
                "picture": self.picture(region.picture, "canvas"),
                "mask": region.mask and self.picture(region.mask, "mask"),
                "changes": dict(region.changes),
                "outpaint": region.outpaint,
                "fill": region.fill,
            }
        )

    def painting(self, painting: GeneratedImage) -> dict[str, Any]:
        record = painting.record
        region = self.region(painting.region)
        told = {"task": record.task, "parent": record.parent, "mask": record.mask, "prompt": record.prompt}
        return {
            "picture": self.picture(painting.image, "painted", **told),
            "record": json.loads(record.to_json()),
            "region": region,
            "number": painting.number,
        }

    def conversation(self, conversation: Conversation) -> dict[str, Any]:
        return {"system": conversation.system, "messages": self.messages(conversation.messages)}

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        return [
            {
                "role": message.role,
                "text": message.text,
                "images": [self.picture(image, "shown") for image in message.images],
            }
            for message in messages
        ]


@dataclass(frozen=True)
class _Listed:
    """What a reader wants to know of a picture."""

    file: Name
    mode: Name | None = None


@dataclass(frozen=True)
class _Index:
    """What `session.json` says beside the state."""

    models: Annotated[tuple[ModelMark, ...], up_to(16)]
    pictures: dict[str, _Listed]


class SessionReader:
    """Reads a session; nothing of what stands in it is taken for a path, nothing is decoded before all was looked at.

    Args:
        path: what messages call the session.
        opened: opens one of its files.
        most_pixels: of all pictures together.
        most_bytes: of their files.
    """

    def __init__(
        self, path: Path, opened: Callable[[str], IO[bytes]], most_pixels: float, most_bytes: float = MOST_BYTES
    ):
        self.path, self.opened, self.most_pixels, self.most_bytes = path, opened, most_pixels, most_bytes
        self.pictures: dict[str, Image.Image] = {}

    def saved(self) -> SavedSession:
        content = self._content()
        named: dict[str, None] = {}
        typed(Session, content, {Image.Image: lambda name: named.setdefault(self._checked_name(name))})
        self._decode(named)
        state = typed(Session, content, {Image.Image: self.pictures.__getitem__})
        _check_order(state)
        for region in _regions(state):
            _check_region(region)
        return SavedSession(state, self.index.models, self.pictures)

    def some(self, names: Collection[str]) -> dict[str, Image.Image]:
        self._content()
        self._decode([self._checked_name(name) for name in names if name in self.index.pictures])
        return self.pictures

    def _content(self) -> dict[str, Any]:
        """All that the session says; `index` is the part that tells of its pictures."""
        content = typed(dict[str, Any], parsed(self._bytes(INDEX, LARGEST_INDEX), longest=LARGEST_INDEX))
        version = content["version"] if content["format"] == FORMAT else None
        if not isinstance(version, int) or version < 1:
            raise ValueError("its format is another one")
        if version > VERSION:
            raise UserError(
                f"session {str(self.path)!r} is of version {version}, known is up to {VERSION}; update this program."
            )
        self.index = typed(_Index, content)
        return content

    def _bytes(self, name: str, limit: int) -> bytes:
        with _reading(self.path, name), self.opened(name) as stream:
            content = content_of(stream, limit)
        if len(content) > limit:
            raise UserError(f"{name} of session {str(self.path)!r} has more than {limit} bytes; it is not from here.")
        return content

    def _checked_name(self, name: Any) -> str:
        if not isinstance(name, str) or not HASH.fullmatch(name) or name not in self.index.pictures:
            raise ValueError(f"{reprlib.repr(name)} is none of its pictures")
        return name

    def _decode(self, names: Iterable[str]) -> None:
        """Open the pictures, once it is seen what all of them will take."""
        pixels = size = 0
        for name in names:
            content, formats = self._file(name)
            with _damage(name):
                pixels, size = pixels + math.prod(size_of(content, formats=formats)), size + len(content)
            if pixels > self.most_pixels or size > self.most_bytes:
                raise UserError(
                    f"the pictures of session {str(self.path)!r} are too large together, they may have "
                    f"{self.most_pixels / 1e6:g} million pixels; load a smaller one, or raise --session-megapixels."
                )
        for name in names:
            content, formats = self._file(name)
            with _damage(name):
                image = _relabelled(open_image(content, exact=True, formats=formats), self.index.pictures[name].mode)
            if picture_hash(image) != name:
                raise ValueError(f"the picture {name} is another one")
            self.pictures[name] = image

    def _file(self, name: str) -> tuple[bytes, tuple[str, ...]]:
        """The bytes of a picture, and as what they may be opened."""
        suffix = ".tif" if self.index.pictures[name].file.endswith(".tif") else ".png"
        return self._bytes(f"pictures/{name}{suffix}", LARGEST_PICTURE), KINDS[suffix]


@contextmanager
def _read(path: str | Path, most_pixels: int) -> Iterator[SessionReader]:
    """What reads the session.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = _place(path)
    try:
        with ExitStack() as stack:
            with _reading(path, INDEX):
                opened = stack.enter_context(unpacked(path))
            yield SessionReader(path, opened, most_pixels)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as problem:
        reason = f"{problem.args[0]!r} is missing" if isinstance(problem, KeyError) else problem
        raise UserError(f"session {str(path)!r} is damaged or none ({reason}); give one that was saved here.") from None


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Raises: ValueError for what is no picture."""
    try:
        yield
    except UserError:
        raise ValueError(f"the picture {name} cannot be read") from None


@contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    """Files and archives may be broken in any way.

    Raises:
        UserError: whatever is broken, in one sentence.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception:
        what = "is no session" if name == INDEX else f"lacks {name}, or it is broken"
        raise UserError(f"{str(path)!r} {what}; give a folder or a .zip that was saved here.") from None


def _check_order(state: Session) -> None:
    """Raises: ValueError where an exchange is of messages that are not there, or of another one."""
    last, count = 0, len(state.conversation.messages)
    for exchange in state.exchanges:
        if not last <= exchange.start < exchange.end <= count:
            raise ValueError(f"no messages are {exchange.start} to {exchange.end}")
        last = exchange.end


def _regions(state: Session) -> Iterator[Region]:
    for exchange in state.exchanges:
        parts: tuple[Exchange | GeneratedImage, ...] = (exchange, *exchange.paintings)
        yield from (part.region for part in parts if part.region is not None)


def _check_region(region: Region) -> None:
    """Raises: ValueError where mask and picture are not as a pipeline takes them."""
    mask, described = region.mask, region.changes.get("source_prompt")
    if mask is None:
        fits = region.pipeline_task == EDITING
    else:  # of a masked picture the rest is kept, whatever it shows
        fits = not described and mask.mode == "L" and mask.size == region.picture.size
    if not fits:
        raise ValueError("a mask does not fit its picture")
    if region.outpaint is None and region.picture.size != region.parent.size:
        raise ValueError("a picture is not of its parent's size")


def storable(image: Image.Image) -> Image.Image:
    """The picture in a mode that files hold without loss."""
    if image.mode in RELABELLED:
        return _relabelled(image, "RGB")
    held = able_to_hold(image)
    return held if held.mode in (*PNG_MODES, *TIFF_MODES) else held.convert("RGB")


def _relabelled(image: Image.Image, mode: str | None) -> Image.Image:
    """The same channels under another name, where one of the two names is of `RELABELLED`."""
    if mode is None or mode == image.mode or not {mode, image.mode} & set(RELABELLED):
        return image
    labelled = Image.frombytes(mode, image.size, image.tobytes())
    labelled.info = dict(image.info)
    return labelled


def lossless(image: Image.Image) -> bytes:
    """The file of a picture that is `storable`."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if image.mode in PNG_MODES else "TIFF", icc_profile=image.info.get("icc_profile"))
    fine = levels(image)
    return buffer.getvalue() if fine is None else into_png(buffer.getvalue(), fine)
