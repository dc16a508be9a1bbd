"""A conversation as the page shows it: data that `drawing` makes HTML of."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from urllib.parse import quote

from PIL import Image

from llmga.assistant.events import AssistantEvent, Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.library.pictures import PictureFolder
from llmga.assistant.record import Record
from llmga.assistant.session import GeneratedImage, Session, Turn
from llmga.assistant.settings import SETTINGS
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.llava.generation_prompt import END, START
from llmga.serve.page.marks import marked
from llmga.serve.page.strings import key_of

PREVIEW = 256  # longer side in pixels of an unfinished picture

Painted = tuple[int, PictureReady]  # with the number of its prompt


@dataclass(frozen=True)
class ShownImage:
    """An image as the page needs it.

    Attributes:
        number: of the image in the conversation, from 0; what the buttons name it by.
        url: where the browser gets the file.
        size: (width, height) in pixels.
        facts: what is said of how it was made, such as its seed.
        again: it was shown before, under the same number.
        made: how it was made, as pairs of a key of the page's strings and what is said there.
        before: where the browser gets the picture that was changed, of the same size; "" where there is none.
        marks: where the browser gets the picture hatched where it was to be painted anew; "" where nothing was marked.
    """

    number: int
    url: str
    size: tuple[int, int]
    facts: tuple[str, ...] = ()
    again: bool = False
    made: tuple[tuple[str, str], ...] = ()
    before: str = ""
    marks: str = ""


@dataclass
class Progress:
    """A painting at work.

    Attributes:
        exchange: in which exchange a prompt is painted, from 0.
        prompt: which of its prompts, from 0.
        step: how many steps are done.
        total: how many there are; 0 until the pipeline has begun.
        preview: a data URI of the unfinished image.
        size: its (width, height) in pixels.
        first: when the first step was done, in seconds of `time.monotonic`, and which that was.
        seconds: how long the rest will take, judged by the steps so far; None until two are done.
    """

    exchange: int
    prompt: int
    step: int = 0
    total: int = 0
    preview: str = ""
    size: tuple[int, int] = (1, 1)
    first: tuple[float, int] | None = None
    seconds: float | None = None

    def reach(self, step: int, total: int) -> None:
        """So many steps are done by now."""
        now = monotonic()
        if self.first is None or step < self.first[1]:  # another picture of the same prompt begins
            self.first, self.seconds = (now, step), None
        elif step > self.first[1]:
            self.seconds = (now - self.first[0]) / (step - self.first[1]) * (total - step)
        self.step, self.total = step, total


@dataclass(frozen=True)
class Notice:
    """A line that the page itself says: a key of its strings."""

    key: str


@dataclass(frozen=True)
class Entry:
    """A turn and what came of it so far.

    Attributes:
        asked: what the person said.
        attached: images that went with it.
        reply: the answer so far, with its generation prompts in their tags.
        pictures: what was painted of each prompt, by its number in the reply.
        troubles: what went wrong, in order.
        kept: the session has it; not so of what is being answered, or came to nothing.
    """

    asked: str
    attached: Sequence[ShownImage] = ()
    reply: str = ""
    pictures: Mapping[int, Sequence[ShownImage]] = field(default_factory=dict)
    troubles: Sequence[str | Notice] = ()
    kept: bool = True

    def all_pictures(self) -> list[ShownImage]:
        """Those that are shown here first, in the order of their numbers."""
        shown = [*self.attached, *(image for prompt in self.pictures.values() for image in prompt)]
        return [image for image in shown if not image.again]


@dataclass
class ServedImages:
    """The images of a conversation, numbered in the order in which they are shown, as files that the browser fetches.

    Attributes:
        pictures: where the files go; the page's server may serve what is in it.
        numbered: the images by their number.
    """

    pictures: PictureFolder
    numbered: list[Image.Image] = field(default_factory=list)
    _files: dict[int, tuple[Image.Image, Path]] = field(default_factory=dict)  # by identity, the image kept alive
    _marks: dict[tuple[int, int | str | None], tuple[Turn, str]] = field(default_factory=dict)  # as before

    def shown(
        self,
        image: Image.Image,
        ready: PictureReady | None = None,
        facts: tuple[str, ...] = (),
        before: Image.Image | None = None,
    ) -> ShownImage:
        """The next number for this image, or the one that it has; a painted one's file carries its record.

        Args:
            before: what it was made of; looked at beside it where both are of one size.
        """
        known = [number for number, other in enumerate(self.numbered) if other is image]
        if not known:
            self.numbered.append(image)
        number = known[0] if known else len(self.numbered) - 1
        made = () if ready is None else facts_of(ready.record)
        earlier = self._url(before, None) if before is not None and before.size == image.size else ""
        return ShownImage(number, self._url(image, ready), image.size, facts, bool(known), made, earlier)

    def attached(self, turn: Turn) -> list[ShownImage]:
        """The images of a turn; the first one with what was marked on it."""
        images = [self.shown(image) for image in turn.images]
        return [replace(image, marks=self._marked(turn)) if place == 0 else image for place, image in enumerate(images)]

    def _marked(self, turn: Turn) -> str:
        key = id(turn.images[0]), id(turn.mask) if turn.mask is not None else turn.outpaint
        if key not in self._marks:
            picture = marked(turn)
            self._marks[key] = turn, "" if picture is None else served(self.pictures.given(picture))
        return self._marks[key][1]

    def image(self, number: int | None, otherwise: str) -> Image.Image:
        """The image of a number.

        Raises:
            UserError: there is none; the message is `otherwise`.
        """
        if number is None or not 0 <= number < len(self.numbered):
            raise UserError(otherwise)
        return self.numbered[number]

    def look(self, number: int) -> ShownImage:
        """An image that has its number already."""
        return ShownImage(number, self.url(number), self.numbered[number].size, again=True)

    def url(self, number: int) -> str:
        """Where the browser gets an image that is shown."""
        return self._url(self.numbered[number], None)

    def _url(self, image: Image.Image, ready: PictureReady | None) -> str:
        if id(image) not in self._files:
            own = self.pictures
            path = own.given(image) if ready is None else own.painted(ready.image, ready.record, ready.parent)
            self._files[id(image)] = image, path
        return served(self._files[id(image)][1])


@dataclass
class AnswerInProgress:
    """An answer that is being given, put together from the assistant's events.

    Attributes:
        turn: what is answered.
        index: which exchange it is going to be, or belongs to.
        repaints: the number of the prompt that is painted again; None where a message is answered.
        paints: whether prompts are painted as they come.
        reply: as the conversation will have it, generation prompts in their tags.
        painted: (number of the prompt, image and record) of each finished image.
        troubles: what went wrong.
        progress: of the painting at work.
        waits: others are answered first.
    """

    turn: Turn
    index: int
    repaints: int | None = None
    paints: bool = True
    reply: str = ""
    painted: list[Painted] = field(default_factory=list)
    troubles: list[str | Notice] = field(default_factory=list)
    progress: Progress | None = None
    waits: bool = False
    _prompts: int = 0

    def add(self, event: AssistantEvent) -> None:
        """Take one event more."""
        match event:
            case TextDelta(text):
                self.reply += text
            case PromptFound(prompt):
                self._begin_prompt(prompt)
            case Denoising(step, total, preview) if self.progress is not None:
                self.progress.reach(step, total)
                if preview is not None:
                    self.progress.preview, self.progress.size = _data_uri(preview), preview.size
            case PictureReady():
                self.painted.append((self._prompts - 1, event))
                self.progress = None
            case Failed(message):
                self.troubles.append(message)
                self.progress = None
            case Stopped():
                self.troubles.append(Notice("stopped"))

    def _begin_prompt(self, prompt: str) -> None:
        if self.repaints is None:
            self.reply += f"{START} {prompt} {END}"
            number, self._prompts = self._prompts, self._prompts + 1
        else:
            number = self.repaints
        if self.paints:
            self.progress = Progress(self.index, number)


def entries(
    session: Session,
    answer: AnswerInProgress | None,
    troubles: Mapping[int, Sequence[str | Notice]],
    images: ServedImages,
    seed: str,
) -> list[Entry]:
    """A session's exchanges, and the answer that is being given; gives the images their numbers, in order.

    Args:
        troubles: what went wrong, by the number of the exchange.
        seed: what the page calls the seed of an image.
    """
    images.numbered.clear()
    until = len(session.exchanges) if answer is None or answer.repaints is not None else answer.index
    found = []
    for index, exchange in enumerate(session.exchanges[:until]):
        messages = session.conversation.messages[exchange.start : exchange.end]
        reply = messages[-1].text if messages[-1].role == "assistant" else ""
        painted = [(each.number, _ready(each), _before(each)) for each in exchange.paintings]
        found.append(_entry(exchange.turn, reply, painted, troubles.get(index, ()), images, seed))
    if answer is not None and answer.repaints is None:
        waits = [Notice("queued")] if answer.waits else []
        painted = [(number, ready, ready.parent) for number, ready in answer.painted]
        entry = _entry(answer.turn, answer.reply, painted, [*answer.troubles, *waits], images, seed)
        found.append(replace(entry, kept=False))
    return found


def _entry(
    turn: Turn,
    reply: str,
    painted: Sequence[tuple[int, PictureReady, Image.Image | None]],
    troubles: Sequence[str | Notice],
    images: ServedImages,
    seed: str,
) -> Entry:
    attached = images.attached(turn)
    pictures: dict[int, list[ShownImage]] = {}
    for number, ready, before in sorted(painted, key=lambda each: each[0]):
        facts = (f"{seed} {ready.record.seed}", f"{ready.image.width}×{ready.image.height}")
        pictures.setdefault(number, []).append(images.shown(ready.image, ready, facts, before))
    return Entry(turn.text, attached, reply, pictures, tuple(troubles))


def facts_of(record: Record) -> tuple[tuple[str, str], ...]:
    """How a picture was made: pairs of a key of the page's strings and what is said there, of what was chosen."""
    painter, language = record.model("painter"), record.model("language")
    said = {
        "request": record.request,
        "seed": record.seed,
        "size": record.size and "{} × {}".format(*record.size),
        key_of(SETTINGS["steps"]): record.steps,
        key_of(SETTINGS["guidance_scale"]): record.guidance_scale,
        key_of(SETTINGS["sampler"]): record.painter.get("sampler") or record.sampler,
        key_of(SETTINGS["negative_prompt"]): record.negative_prompt,
        "restorer": record.restorer,
        "picture model": painter and painter.name,
        "language model": language and language.name,
    }
    return tuple((key, str(value)) for key, value in said.items() if value not in (None, ""))


def _ready(painting: GeneratedImage) -> PictureReady:
    return PictureReady(painting.image, painting.record, None if painting.region is None else painting.region.parent)


def _before(painting: GeneratedImage) -> Image.Image | None:
    """What it was made of: of a grown picture with what was laid under the new part, so that both are of one size."""
    region = painting.region
    return None if region is None else region.picture if region.outpaint else region.parent


def served(file: Path) -> str:
    """Where the browser gets a file of a folder that the page's server may serve."""
    return f"gradio_api/file={quote(file.as_posix())}"


def _data_uri(preview: Image.Image) -> str:
    """An unfinished image, small, inside the page."""
    small = to_rgb(preview)
    small.thumbnail((PREVIEW, PREVIEW))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
