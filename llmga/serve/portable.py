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
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from PIL import Image

from llmga.compositing import able_to_hold
from llmga.deep import into_png, levels
from llmga.errors import UserError
from llmga.files import write_whole
from llmga.images import open_image
from llmga.llava.conversation import Conversation, Message
from llmga.serve.checked import checked
from llmga.serve.history import Exchange, Painting, Region, Settings, State, Turn
from llmga.serve.provenance import ModelMark, Record, picture_hash

FORMAT, VERSION, INDEX = "llmga-session", 1, "session.json"
LARGEST_INDEX, LARGEST_PICTURE = 64_000_000, 256_000_000  # bytes that are read of a file from somewhere
MOST_PIXELS = 1_000_000_000  # of all pictures together: 3 GB as RGB
HASH = re.compile(r"[0-9a-f]{64}")
PNG_MODES, TIFF_MODES = ("L", "LA", "RGB", "RGBA", "I;16"), ("CMYK", "I", "F", "I;16B")
UNREADABLE = (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
RELABELLED = ("YCbCr", "HSV", "LAB")  # no file holds these plainly: their channels are written as if they were RGB


@dataclass(frozen=True)
class Saved:
    """A session as it was saved.

    Attributes:
        models: which models took part.
        pictures: every picture by its hash.
    """

    state: State
    models: tuple[ModelMark, ...]
    pictures: Mapping[str, Image.Image]


def save_session(path: str | Path, state: State, models: tuple[ModelMark, ...] = ()) -> Path:
    """Write a session into a folder, or with the suffix .zip into one file; one that is there is replaced.

    Raises: UserError when it cannot be written; what was saved before is then still there.
    """
    if not str(path):
        raise UserError("the name of the session is empty; give a folder or a .zip file.")
    path = Path(path)
    writer = _Writer()
    content = writer.index(state, models)
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


def load_session(path: str | Path, most_pixels: int = MOST_PIXELS) -> Saved:
    """Read a session.

    Args:
        most_pixels: of all its pictures together.

    Raises: UserError when there is no session, a damaged one, one of a later version, or one that is too large.
    """
    return _Reader(path, most_pixels).saved()


def differences(saved: tuple[ModelMark, ...], here: tuple[ModelMark, ...]) -> list[str]:
    """In which models a session was saved with others than these, one sentence each."""
    own = {mark.role: mark for mark in here}
    return [
        f"the session was made with the {mark.role} model {mark.name!r}, here it is "
        f"{own[mark.role].name if mark.role in own else 'none'!r} with other weights."
        for mark in saved
        if mark.role not in own or own[mark.role].sha256 != mark.sha256
    ]


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
class _Writer:
    """A session as plain values.

    Attributes:
        graph: what is told of each picture, by hash.
        files: what writes each picture's file, by name.
    """

    graph: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, Callable[[], bytes]] = field(default_factory=dict)

    def index(self, state: State, models: tuple[ModelMark, ...]) -> bytes:
        content = {
            "format": FORMAT,
            "version": VERSION,
            "models": [asdict(mark) for mark in models],
            "seed": state.seed,
            "turns": state.turns,
            "painted": state.painted,
            "settings": asdict(state.settings),
            "exchanges": [self.exchange(exchange) for exchange in state.exchanges],
            "conversation": self.conversation(state.conversation),
            "pictures": self.graph,
        }
        return json.dumps(content, ensure_ascii=False, indent=1).encode(errors="replace")

    def picture(self, image: Image.Image, kind: str, **told: Any) -> str:
        """Its hash; a picture that was painted stays one when it is given or shown again."""
        name = picture_hash(image)
        stored = _storable(image)
        file = f"pictures/{name}.{'png' if stored.mode in PNG_MODES else 'tif'}"
        entry = self.graph.setdefault(name, {"file": file, "kind": kind, "mode": image.mode})
        if kind == "painted":
            entry.update(kind=kind, **told)
        self.files.setdefault(file, lambda: _lossless(stored))
        return name

    def exchange(self, exchange: Exchange) -> dict[str, Any]:
        turn = exchange.turn
        given = {
            "text": turn.text,
            "images": [self.picture(image, "given") for image in turn.images],
            "mask": turn.mask and self.picture(turn.mask, "mask"),
            "outpaint": turn.outpaint,
            "fill": turn.fill,
        }
        return {
            "turn": given,
            "start": exchange.start,
            "end": exchange.end,
            "region": self.region(exchange.region),
            "paintings": [self.painting(painting) for painting in exchange.paintings],
        }

    def region(self, region: Region | None) -> dict[str, Any] | None:
        return region and {
            "parent": self.picture(region.parent, "given"),
            "picture": self.picture(region.picture, "canvas"),
            "mask": region.mask and self.picture(region.mask, "mask"),
            "changes": dict(region.changes),
            "outpaint": region.outpaint,
            "fill": region.fill,
        }

    def painting(self, painting: Painting) -> dict[str, Any]:
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
        messages = [
            {
                "role": message.role,
                "text": message.text,
                "images": [self.picture(image, "shown") for image in message.images],
            }
            for message in conversation.messages
        ]
        return {"system": conversation.system, "messages": messages}


class _Reader:
    """Reads a session from a folder or a zip; nothing of what stands in it is taken for a path."""

    def __init__(self, path: str | Path, most_pixels: int):
        self.path, self.pictures, self._room = Path(path), {}, most_pixels

    def saved(self) -> Saved:
        try:
            content = json.loads(self._bytes(INDEX, LARGEST_INDEX))
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            if content["version"] > VERSION:
                raise UserError(
                    f"session {str(self.path)!r} is of version {content['version']}, known is up to {VERSION}; "
                    "update this program."
                )
            models = tuple(ModelMark(**mark) for mark in content["models"])
            return Saved(self._state(content), models, self.pictures)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as problem:
            if isinstance(problem, UserError):
                raise
            raise UserError(f"session {str(self.path)!r} is damaged or none; give one that was saved here.") from None

    def _bytes(self, name: str, limit: int) -> bytes:
        try:
            with self._opened(name) as stream:
                content = stream.read(limit + 1)
        except UNREADABLE:
            what = "is no session" if name == INDEX else f"lacks {name}"
            raise UserError(f"{str(self.path)!r} {what}; give a folder or a .zip that was saved here.") from None
        if len(content) > limit:
            raise UserError(f"{name} of session {str(self.path)!r} has more than {limit} bytes; it is not from here.")
        return content

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        if self.path.is_dir():
            with _plain_file(self.path / name).open("rb") as stream:
                yield stream
        else:
            with zipfile.ZipFile(_plain_file(self.path)) as archive, archive.open(name) as stream:
                yield stream

    def _picture(self, name: str | None) -> Image.Image | None:
        if name is None:
            return None
        if not HASH.fullmatch(name):
            raise ValueError(name)
        if name not in self.pictures:
            suffix = "tif" if self._listed[name]["file"].endswith(".tif") else "png"
            image = _opened_picture(self._bytes(f"pictures/{name}.{suffix}", LARGEST_PICTURE))
            self._room -= image.width * image.height
            if self._room < 0:
                raise UserError(
                    f"the pictures of session {str(self.path)!r} are too large together; load a smaller one."
                )
            self.pictures[name] = _relabelled(image, self._listed[name].get("mode"))
            if picture_hash(self.pictures[name]) != name:
                raise ValueError(name)
        return self.pictures[name]

    def _state(self, content: dict[str, Any]) -> State:
        self._listed = content["pictures"]
        told = content["conversation"]
        messages = tuple(
            Message(_role(each["role"]), str(each["text"]), self._all(each["images"])) for each in told["messages"]
        )
        state = State(
            seed=int(content["seed"]),
            turns=int(content["turns"]),
            painted=int(content["painted"]),
            conversation=Conversation(messages, told["system"]),
            exchanges=tuple(self._exchange(each) for each in content["exchanges"]),
            settings=_settings(content["settings"]),
        )
        last = 0
        for each in state.exchanges:
            if not last <= each.start < each.end <= len(messages):
                raise ValueError(each.end)
            last = each.end
        return checked(state)

    def _all(self, names: list[str]) -> tuple[Image.Image, ...]:
        return tuple(self._picture(name) for name in names)

    def _exchange(self, told: dict[str, Any]) -> Exchange:
        given = told["turn"]
        images, mask = self._all(given["images"]), self._picture(given["mask"])
        turn = Turn(str(given["text"]), images, mask, given["outpaint"], given["fill"])
        paintings = tuple(self._painting(each) for each in told["paintings"])
        return Exchange(turn, int(told["start"]), int(told["end"]), self._region(told["region"]), paintings)

    def _region(self, told: dict[str, Any] | None) -> Region | None:
        if told is None:
            return None
        picture, mask, parent = (self._picture(told[name]) for name in ("picture", "mask", "parent"))
        return Region(picture, mask, dict(told["changes"]), parent, told["outpaint"], told["fill"])

    def _painting(self, told: dict[str, Any]) -> Painting:
        record = Record.from_json(json.dumps(told["record"]))
        return Painting(self._picture(told["picture"]), record, self._region(told["region"]), int(told["number"]))


def _plain_file(path: Path) -> Path:
    """The same.  Raises: OSError where it is no file: to read from a pipe or a device might never end."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def _opened_picture(content: bytes) -> Image.Image:
    """Raises: ValueError for what is no picture."""
    try:
        return open_image(content, exact=True)
    except UserError as problem:
        raise ValueError(problem) from None


def _role(role: str) -> str:
    if role not in ("user", "assistant"):
        raise ValueError(role)
    return role


def _settings(told: dict[str, Any]) -> Settings:
    known = {entry.name: told[entry.name] for entry in fields(Settings) if entry.name in told}
    if known.get("size"):
        known["size"] = tuple(known["size"])
    return Settings(**known)


def _storable(image: Image.Image) -> Image.Image:
    """The picture in a mode that files hold without loss."""
    if image.mode in RELABELLED:
        return _relabelled(image, "RGB")
    held = able_to_hold(image)
    return held if held.mode in (*PNG_MODES, *TIFF_MODES) else held.convert("RGB")


def _relabelled(image: Image.Image, mode: str | None) -> Image.Image:
    """The same channels under another name, where one of the two names is of `RELABELLED`."""
    if mode == image.mode or not {mode, image.mode} & set(RELABELLED):
        return image
    labelled = Image.frombytes(mode, image.size, image.tobytes())
    labelled.info = dict(image.info)
    return labelled


def _lossless(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if image.mode in PNG_MODES else "TIFF", icc_profile=image.info.get("icc_profile"))
    fine = levels(image)
    return buffer.getvalue() if fine is None else into_png(buffer.getvalue(), fine)
