"""What an answer is made of, in the order in which it comes; front ends draw these."""

from dataclasses import dataclass

from PIL import Image

from llmga.assistant.record import Record


@dataclass(frozen=True)
class TextDelta:
    """The next piece of what the assistant says; never a part of a generation prompt."""

    text: str


@dataclass(frozen=True)
class PromptFound:
    """The language model asked for this picture; painting starts now.

    Attributes:
        tokens: how the pipeline cuts the prompt, such as "98 tokens in 2 chunks (75 + 23)"; empty if it does not say.
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
    """A finished picture and how it was made; of a repainted part, the record tells the seam before and after."""

    image: Image.Image
    record: Record


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
