"""What a kind of record is.

It turns one record into one conversation and says nothing else; files, tokens, lengths and padding live elsewhere.
Pictures are opened only when a sample is asked for.
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
UNSEEN = ("video", "videos", "audio", "audios")  # what a record may show to other models


class UnusableRecord(Exception):
    """A record that cannot be learnt from.  Its text is the reason, which is counted and reported."""


@dataclass(frozen=True)
class Phrasing:
    """In which words a source asks, and how often for a picture.

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
        """See whether it can be followed.

        Raises:
            UserError: for an unknown language.
        """
        if self.language != "auto":
            INSTRUCTIONS[self.language]


USUAL_PHRASING = Phrasing()
Write = Callable[[Record, OpenPicture, np.random.Generator, Phrasing], Conversation]


@dataclass(frozen=True)
class Kind:
    """A kind of record.

    Attributes:
        fields: keys that each record of a file must have.
        write: the conversation of a record; what is drawn comes from the generator alone.
        paint: how often it asks for a picture instead of a description; None where its records leave no choice.
    """

    fields: tuple[str, ...]
    write: Write
    paint: float | None = None

    def to_conversation(
        self, record: Record, open_picture: OpenPicture, rng: np.random.Generator, phrasing: Phrasing = USUAL_PHRASING
    ) -> Conversation:
        """What a record teaches.

        Raises:
            UnusableRecord: when it teaches nothing.
        """
        return self.write(record, open_picture, rng, phrasing)

    def fault(self, record: Any) -> str:
        """Why a record cannot be one of this kind, in words that follow "record 7 of 'a.json'"; "" when it can."""
        if not isinstance(record, Mapping):
            return f"is {said_type(record)}, but must be an object with {', '.join(self.fields)}"
        if unseen := next((name for name in UNSEEN if record.get(name)), None):
            return f"has {unseen!r}, which the model cannot see; leave such records out"
        for name in self.fields:
            value = record.get(name)
            if not value or (isinstance(value, str) and not value.strip()):
                return f"has no {name!r}; records of this kind have {', '.join(self.fields)}"
            expected = LIST if name == "conversations" else PICTURE if name == "image" else str
            if not isinstance(value, expected):
                return f"has {said_type(value)} as {name!r}, which must be {SHAPES[expected]}"
        if not isinstance(record.get("image", ""), (*PICTURE, *LIST, type(None))):
            return f"has {said_type(record['image'])} as 'image', which must be {SHAPES[PICTURE]} or a list of them"
        return ""


LIST, PICTURE = (list, tuple), (str, bytes, Mapping)
SHAPES: dict[type | tuple[type, ...], str] = {LIST: "a list of turns", PICTURE: "the name of a picture", str: "a text"}
_JSON_TYPES = {str: "a text", bool: "a truth value", int: "a number", float: "a number", list: "a list",
               dict: "an object", type(None): "null"}  # fmt: skip


def said_type(value: Any) -> str:
    """The type of a value in the words of JSON, with its article."""
    return _JSON_TYPES.get(type(value), f"a {type(value).__name__}")
