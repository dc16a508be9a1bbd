"""A conversation is data: who said what, and which pictures came with it."""

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from PIL import Image

Role = Literal["user", "assistant"]
IMAGE_MARKER = "<image>"


@dataclass(frozen=True)
class Message:
    """One turn of one speaker.

    Args:
        role: "user" or "assistant".
        text: what was said; "<image>" stands where a picture is seen.
        images: the pictures, in the order of their markers.
    """

    role: Role
    text: str
    images: tuple[Image.Image, ...] = ()

    def marked_text(self) -> str:
        """The text with one marker per picture: missing ones go in front, each on its own line."""
        missing = len(self.images) - self.text.count(IMAGE_MARKER)
        return f"{IMAGE_MARKER}\n" * max(0, missing) + self.text

    def parts(self) -> list[str | Image.Image]:
        """Words and pictures in order, without markers and without the line ends that stood beside them."""
        found: list[str | Image.Image] = []
        for words, image in zip_longest(self.marked_text().split(IMAGE_MARKER), self.images):
            found += [words.strip("\n"), image]
        return [part for part in found if part]


@dataclass(frozen=True)
class Conversation:
    """Messages in order; a new one makes a new conversation, so a history can be kept, cut and compared freely.

    Args:
        messages: oldest first.
        system: the system text; None is the chat template's own.
    """

    messages: tuple[Message, ...] = ()
    system: str | None = None

    def say(self, role: Role, text: str, images: tuple[Image.Image, ...] = ()) -> "Conversation":
        """This conversation and one message more."""
        return replace(self, messages=(*self.messages, Message(role, text, tuple(images))))

    def images(self) -> tuple[Image.Image, ...]:
        """All pictures, in the order in which they are seen."""
        return tuple(image for message in self.messages for image in message.images)
