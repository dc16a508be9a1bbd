"""A session as data: what a person gave, what came of it, and all that is needed to go on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from PIL import Image

from llmga.assistant.record import Extents, Record
from llmga.assistant.settings import SETTINGS, Changes, Fill, Seed, Settings
from llmga.diffusers.canvas import Canvas
from llmga.diffusers.families import EDITING, INPAINTING, TEXT_TO_IMAGE
from llmga.errors import UserError
from llmga.images import reduced, to_rgb
from llmga.inputs import Picture, Pictures, as_picture, as_several, as_text, as_whole
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.generation_prompt import with_prompt
from llmga.masks import hide, read_mask
from llmga.plain_text import plain
from llmga.typed import within

OUTPAINTING = "outpainting"
Count = Annotated[int, within(0, 10_000_000)]


@dataclass(frozen=True)
class Turn:
    """What a person gives in one go.

    Attributes:
        text: the words.
        images: pictures that come with the words, of any mode and size; with a mask, or to grow, the first one is the
            picture to change.
        mask: same size as the first picture, white (or, where anything in it is transparent, transparent) where it is
            to be painted anew.  Later turns without pictures repaint the same part of the same picture.
        outpaint: how the first picture is to grow, as `Canvas.parse` takes it, such as "left=25%"; in place of a mask.
        fill: a row of `FILLS`, what is under the grown part.
    """

    text: str
    images: tuple[Image.Image, ...] = ()
    mask: Image.Image | None = None
    outpaint: Extents | None = None
    fill: Fill = "edge"

    @classmethod
    def of(
        cls,
        text: str,
        images: Pictures = (),
        mask: Picture | None = None,
        outpaint: str | None = None,
        fill: str = "edge",
    ) -> "Turn":
        """A turn as a caller of Python hands it in, with pictures as `llmga.inputs.as_several` takes them.

        Raises:
            UserError: something is of another type, cannot be read, or is no row.
        """
        extents = None if outpaint is None else as_text(outpaint, "outpainting")
        fill = SETTINGS["fill"].checked(as_text(fill, "fill"))
        return cls(as_text(text, "message"), as_several(images), as_picture(mask, "mask"), extents, fill)

    def legible(self) -> "Turn":
        """The same as `of` makes it, and without control characters.

        Raises:
            UserError: as `of`, and when there is nothing in it.
        """
        turn = Turn.of(self.text, self.images, self.mask, self.outpaint, self.fill)
        text = plain(turn.text)
        if not turn.shows and not text.replace(IMAGE_MARKER, "").strip():
            raise UserError("the message says nothing; write what you want to see, or give a picture.")
        return replace(turn, text=text)

    @property
    def shows(self) -> bool:
        """Whether something comes with the words."""
        return bool(self.images) or self.mask is not None or self.outpaint is not None


@dataclass(frozen=True)
class Region:
    """The picture at work: what a pipeline is told beside the words.

    Attributes:
        picture: the picture to change; an outpainted one is on its canvas already.
        mask: mode L, of the picture's size, 255 being painted anew; None where the pipeline finds the part out.
        changes: further arguments of the pipeline.
        parent: the picture that the person gave.
        outpaint: how the parent grew to the picture; None where it did not.
        fill: what was under the grown part; None where it did not grow.
    """

    picture: Image.Image
    mask: Image.Image | None
    changes: Changes
    parent: Image.Image
    outpaint: Extents | None = None
    fill: Fill | None = None

    @property
    def task(self) -> str:
        """What a record calls it."""
        if self.mask is None:
            return EDITING
        return INPAINTING if self.outpaint is None else OUTPAINTING

    @property
    def pipeline_task(self) -> str:
        """What a pipeline has to be for that paints into it: changes by words have words for what was there."""
        return EDITING if "source_prompt" in self.changes else INPAINTING

    @classmethod
    def of(cls, turn: Turn, changes: Changes) -> "Region | None":
        """The region of a turn with a mask or a canvas to grow to; None for any other turn.

        Raises:
            UserError: they do not fit.
        """
        if turn.mask is None and turn.outpaint is None:
            return None
        if not turn.images:
            given = "a mask" if turn.outpaint is None else "an outpainting"
            raise UserError(f"{given} was given without a picture; give the picture that it belongs to.")
        parent = turn.images[0]
        if turn.outpaint is None:
            assert turn.mask is not None
            whole = (changes.get("strength") or 1) < 1  # then something of every pixel is kept
            mask = read_mask(turn.mask, parent.size, soft=changes.get("soft", False), whole=whole)
            return cls(parent, mask, changes, parent)
        if turn.mask is not None:
            raise UserError("a mask and an outpainting were given for one picture; give one of them.")
        picture, mask = Canvas.parse(turn.outpaint, parent.size).grow(parent, turn.fill)
        return cls(picture, mask, changes, parent, turn.outpaint, turn.fill)

    def shown(self) -> Image.Image:
        """The picture as the language model sees it: what a mask covers is black, as in its training."""
        return shown(self.picture if self.mask is None else hide(self.picture, np.asarray(self.mask) > 0))


def shown(image: Image.Image) -> Image.Image:
    """A picture of any mode and size as the language model sees it: RGB, and not larger than needed."""
    return reduced(image if image.mode == "RGB" and not image.has_transparency_data else to_rgb(image))


def task_of(region: Region | None) -> str:
    """What a record calls the painting of this region, or of none."""
    return TEXT_TO_IMAGE if region is None else region.task


@dataclass(frozen=True)
class GeneratedImage:
    """A finished picture.

    Attributes:
        image: a saved session calls it `picture`.
        region: what it was painted into; None for a picture from words.
        number: which prompt of its answer it shows, from 0; several paintings may show one.
    """

    image: Image.Image = field(metadata={"key": "picture"})
    record: Record
    region: Region | None
    number: Count


@dataclass(frozen=True)
class Exchange:
    """A turn and what came of it.

    Attributes:
        start: number of its first message in the conversation.
        end: its messages are messages[start:end].
        region: the picture at work from here on.
    """

    turn: Turn
    start: Count
    end: Count
    region: Region | None
    paintings: tuple[GeneratedImage, ...] = ()


@dataclass(frozen=True)
class Session:
    """One session with one person, as data: all that is needed to go on as if it had never been interrupted.

    Attributes:
        seed: of the session: picture k (from 0) is painted with seed + k.
        turns: how many answers were asked for, those taken back included: each is sampled with a seed of its own.
        painted: how many pictures were painted, those taken back included.
        conversation: what was said, as the language model reads it.
        exchanges: the turns that were answered and what came of them, oldest first.
        settings: how the next answer is given.
    """

    seed: Seed
    turns: Count = 0
    painted: Count = 0
    conversation: Conversation = field(default_factory=Conversation)
    exchanges: tuple[Exchange, ...] = ()
    settings: Settings = field(default_factory=Settings)

    def __repr__(self) -> str:
        painted = sum(len(each.paintings) for each in self.exchanges)
        return f"<Session of seed {self.seed}; turns: {len(self.exchanges)}, pictures: {painted}>"

    @property
    def next_seed(self) -> int:
        """What the next picture is painted with."""
        return self.seed + self.painted

    def index(self, number: int) -> int:
        """A turn's place in `exchanges`; -1 is the last.

        Raises:
            UserError: when it does not exist.
        """
        count, number = len(self.exchanges), as_whole(number, "turn")
        if not count:
            raise UserError("nothing was answered yet in this session; say something first.")
        if not -count <= number < count:
            raise UserError(f"turn {number} does not exist, the session has {count}; use 0 to {count - 1}.")
        return number % count

    def before(self, index: int) -> "Session":
        """The session without exchange `index` and those after it; what was counted stays counted."""
        start = self.exchanges[index].start
        shorter = replace(self.conversation, messages=self.conversation.messages[:start])
        return replace(self, conversation=shorter, exchanges=self.exchanges[:index])

    def with_pictures(self, index: int, pictures: Sequence[GeneratedImage]) -> "Session":
        """The session in which exchange `index` led to these pictures, too."""
        exchange = self.exchanges[index]
        more = replace(exchange, paintings=(*exchange.paintings, *pictures))
        return replace(self, exchanges=(*self.exchanges[:index], more, *self.exchanges[index + 1 :]))

    @property
    def latest_picture(self) -> Image.Image | None:
        """The last one that was painted or given; None where there is none yet."""
        for exchange in reversed(self.exchanges):
            if exchange.paintings:
                return exchange.paintings[-1].image
            if exchange.turn.images:
                return exchange.turn.images[0]
        return None

    def reply(self, index: int) -> str:
        """What was answered in exchange `index`, generation prompts in their tags."""
        return self.conversation.messages[self.exchanges[index].end - 1].text

    def reworded(self, index: int, number: int, prompt: str) -> "Session":
        """The session as if prompt `number` of that answer had been another.

        Raises:
            UserError: for a prompt that cannot stand there.
        """
        messages, place = list(self.conversation.messages), self.exchanges[index].end - 1
        messages[place] = replace(messages[place], text=with_prompt(messages[place].text, number, prompt))
        return replace(self, conversation=replace(self.conversation, messages=tuple(messages)))

    @property
    def region(self) -> Region | None:
        """The picture at work."""
        return self.exchanges[-1].region if self.exchanges else None
