"""What an answer is made of, in the order in which it comes; front ends draw these."""

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from llmga.assistant.record import Record
from llmga.errors import UserError


@dataclass(frozen=True)
class TextDelta:
    """The next piece of what the assistant says; never a part of a generation prompt."""

    text: str


@dataclass(frozen=True)
class PromptFound:
    """The language model asked for this picture; painting starts now.

    Attributes:
        tokens: in words, how the pipeline cuts the prompt: "98 tokens in 2 chunks (75 + 23)"; empty if it does not say.
    """

    prompt: str
    tokens: str = ""


@dataclass(frozen=True)
class Denoising:
    """`step` of `total` is done, counted from 1.

    Attributes:
        preview: a small picture of how far it is, where `Settings.previews` asks for it.
    """

    step: int
    total: int
    preview: Image.Image | None = None


@dataclass(frozen=True)
class PictureReady:
    """A finished picture and how it was made; of a repainted part, the record tells the seam before and after.

    Attributes:
        parent: the picture that was changed; None for one from words.
    """

    image: Image.Image
    record: Record
    parent: Image.Image | None = None


@dataclass(frozen=True)
class Failed:
    """One sentence on what went wrong; the session goes on.

    Attributes:
        cut: the answer reached its token limit; what there is of it is good.
    """

    message: str
    cut: bool = False


@dataclass(frozen=True)
class Stopped:
    """The answer ended early because `Assistant.cancel` was called."""


AssistantEvent = TextDelta | PromptFound | Denoising | PictureReady | Failed | Stopped


@dataclass(frozen=True)
class Reply:
    """A whole answer.

    Attributes:
        text: what was said, without generation prompts.
        prompts: what the language model asked to be painted, in order.
        images: the pictures, RGB or as the picture that they change; several may show one prompt.
        records: how each of them was made.
        cut: the answer reached its token limit.
        stopped: the answer ended early because `Assistant.cancel` was called.
    """

    text: str
    prompts: tuple[str, ...] = ()
    images: tuple[Image.Image, ...] = ()
    records: tuple[Record, ...] = ()
    cut: bool = False
    stopped: bool = False

    @classmethod
    def of(cls, events: Iterable[AssistantEvent]) -> "Reply":
        """The answer that these events tell, once they have come to their end.

            reply = Reply.of(assistant.retry())

        Raises:
            UserError: for the first of them that says what failed.
        """
        seen = list(events)
        failed = [event for event in seen if isinstance(event, Failed)]
        for event in failed:
            if not event.cut:
                raise UserError(event.message)
        ready = [event for event in seen if isinstance(event, PictureReady)]
        return cls(
            "".join(event.text for event in seen if isinstance(event, TextDelta)).strip(),
            tuple(event.prompt for event in seen if isinstance(event, PromptFound)),
            tuple(event.image for event in ready),
            tuple(event.record for event in ready),
            cut=bool(failed),
            stopped=any(isinstance(event, Stopped) for event in seen),
        )
