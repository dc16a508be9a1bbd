"""What every kind of record shares: how files are read, and what a kind must say.

A kind turns one record into one conversation and says nothing else; tokens, lengths and padding live elsewhere.
Pictures are opened only when a sample is asked for.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llmga.errors import UserError
from llmga.llava.conversation import Conversation

Record = Mapping[str, Any]
OpenPicture = Callable[[str], Image.Image]


class Unusable(Exception):
    """A record that cannot be learnt from.  Its text is the reason, which is counted and reported."""


@dataclass(frozen=True)
class Kind:
    """A kind of record.

    Attributes:
        fields: keys that each record of a file must have.
        converse: (record, open_picture, rng) -> conversation; all chance comes from rng.  May raise Unusable.
    """

    fields: tuple[str, ...]
    converse: Callable[[Record, OpenPicture, np.random.Generator], Conversation]


def read_records(path: str | Path, fields: tuple[str, ...]) -> list[Record]:
    """The records of a JSON list, or of a JSONL file with one record a line.

    Raises: UserError when the file is missing, not JSON, empty, or a record lacks one of `fields`.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"data file {str(path)!r} does not exist; check the path (data/README.md shows the tree).")
    try:
        text = path.read_text(encoding="utf-8")
        records = json.loads(text) if text.lstrip().startswith("[") else _lines(text)
    except ValueError as problem:
        raise UserError(f"data file {str(path)!r} is not JSON or JSONL: {problem}.") from None
    if not records:
        raise UserError(f"data file {str(path)!r} holds no records.")
    for number, record in enumerate(records):
        _check_record(record, fields, f"record {number} of {str(path)!r}")
    return records


def _lines(text: str) -> list[Record]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _check_record(record: Any, fields: tuple[str, ...], where: str) -> None:
    if not isinstance(record, dict):
        raise UserError(f"{where} is a {type(record).__name__}, but must be an object with {', '.join(fields)}.")
    for name in fields:
        if not record.get(name):
            raise UserError(f"{where} has no {name!r}; records of this kind have {', '.join(fields)}.")


def wrapped(caption: str) -> str:
    """A caption in the form in which the model asks for a picture."""
    return f"<gen_image> {caption.strip()} </gen_image>"


def exchange(question: str, answer: str, *pictures: Image.Image) -> Conversation:
    """One question, about pictures or not, and its answer."""
    return Conversation().say("user", question, tuple(pictures)).say("assistant", answer)
