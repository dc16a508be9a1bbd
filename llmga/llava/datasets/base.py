"""What every kind of record shares: what a kind must say, and the words that several kinds use.

A kind turns one record into one conversation and says nothing else; files, tokens, lengths and padding live
elsewhere.  Pictures are opened only when a sample is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from llmga.llava.conversation import Conversation
from llmga.llava.instructions import INSTRUCTIONS, instruction

Record = Mapping[str, Any]
OpenPicture = Callable[[Any], Image.Image]


class Unusable(Exception):
    """A record that cannot be learnt from.  Its text is the reason, which is counted and reported."""


@dataclass(frozen=True)
class Manner:
    """How a source asks.

    Attributes:
        language: a row of `INSTRUCTIONS`, or "auto" for that of each caption.
        paint: how often a picture is asked for instead of a description; None is the kind's own share.
    """

    language: str = "auto"
    paint: float | None = None

    def ask(self, pool: str, caption: str, rng: np.random.Generator) -> str:
        """One phrasing of `pool`."""
        return instruction(pool, caption, rng, None if self.language == "auto" else self.language)

    def check(self) -> None:
        """Raises: UserError for an unknown language."""
        if self.language != "auto":
            INSTRUCTIONS[self.language]


AS_CAPTIONED = Manner()
UNSEEN = ("video", "videos", "audio", "audios")  # what a record may show to other models


@dataclass(frozen=True)
class Kind:
    """A kind of record.

    Attributes:
        fields: keys that each record of a file must have.
        converse: (record, open_picture, rng, manner) -> conversation; all chance comes from rng.  May raise Unusable.
        paint: how often it asks for a picture instead of a description; None where its records leave no choice.
    """

    fields: tuple[str, ...]
    converse: Callable[..., Conversation]
    paint: float | None = None

    def fault(self, record: Any) -> str:
        """Why a record cannot be one of this kind, in words that follow "record 7 of 'a.json'"; "" when it can."""
        if not isinstance(record, Mapping):
            return f"is a {type(record).__name__}, but must be an object with {', '.join(self.fields)}"
        if unseen := next((name for name in UNSEEN if record.get(name)), None):
            return f"has {unseen!r}, which the model cannot see"
        for name in self.fields:
            value = record.get(name)
            if not value or (isinstance(value, str) and not value.strip()):
                return f"has no {name!r}; records of this kind have {', '.join(self.fields)}"
            expected = LIST if name == "conversations" else PICTURE if name == "image" else str
            if not isinstance(value, expected):
                return f"has a {type(value).__name__} as {name!r}, which must be {SHAPES[expected]}"
        if not isinstance(record.get("image", ""), (*PICTURE, *LIST, type(None))):
            return (
                f"has a {type(record['image']).__name__} as 'image', which must be {SHAPES[PICTURE]} or a list of them"
            )
        return ""


LIST, PICTURE = (list, tuple), (str, bytes, Mapping)
SHAPES = {LIST: "a list of turns", PICTURE: "the name of a picture", str: "a text"}


def wrapped(caption: str) -> str:
    """A caption in the form in which the model asks for a picture."""
    return f"<gen_image> {caption.strip()} </gen_image>"


def exchange(question: str, answer: str, *pictures: Image.Image) -> Conversation:
    """One question, about pictures or not, and its answer."""
    return Conversation().say("user", question, tuple(pictures)).say("assistant", answer)
