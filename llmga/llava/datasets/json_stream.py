"""The records of a JSON file of any size, packed or not, one after the other, in little memory."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from llmga.errors import UserError
from llmga.filetypes import HEAD, type_of
from llmga.llava.datasets.compressed import open_bytes, open_text

CHUNK = 1 << 20  # characters read at once
LONGEST = 1 << 26  # characters of one record; beyond it the file is broken
BLANK = " \t\r\n"
WRAPPERS = ("data", "records", "rows", "train", "items", "samples", "examples")  # of a list of records in an object
WRAPPED = re.compile(rf'{{\s*"(?:{"|".join(WRAPPERS)})"\s*:\s*\[\s*{{')


@dataclass(frozen=True)
class Item:
    """A record of a file.

    Attributes:
        text: one value as it stands in the file.
        value: the same, parsed.
        problem: why it could not be parsed; "" when it could.
    """

    text: str
    value: Any
    problem: str = ""


def items(path: Path) -> Iterator[Item]:
    """The entries of a JSON list, or the lines of a JSONL file, where a broken line is an item with a problem.

    The list may stand in an object, under the first name there if that is one of `WRAPPERS`.

    Raises:
        UserError: for a list that breaks off or is no JSON, and for a file that is no text in UTF-8.
    """
    check_text(path)
    with open_text(path) as file:
        window = _Window(file, path)
        if window.peek() == "[":
            yield from _listed(window)
        else:
            yield from _wrapped(window) if window.starts_with(WRAPPED) else _lines(window)


def pairs(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON object, such as {"a.jpg": "a cat", …}.

    Raises:
        UserError: for what is no such object, or breaks off.
    """
    check_text(path)
    with open_text(path) as file:
        window = _Window(file, path)
        window.take("{")
        while window.peek() != "}":
            key = window.key()
            yield key, window.value().value
            if window.peek() != "}":
                window.take(",")


def check_text(path: Path, meant: str = ", not JSON") -> None:
    """See whether a file is text.

    Args:
        meant: what a message adds to the type that it found.

    Raises:
        UserError: that names the type of a file of another.
    """
    with open_bytes(path) as file:
        kind = type_of(file.read(HEAD))
    if kind:
        raise UserError(f"data file {str(path)!r} is {kind.said}{meant}; {kind.remedy}.")


def _listed(window: "_Window") -> Iterator[Item]:
    yield from _values(window)
    _check_end(window, "list")


def _wrapped(window: "_Window") -> Iterator[Item]:
    """What stands behind the list is no record."""
    window.take("{")
    window.key()
    yield from _values(window)
    while window.peek() == ",":
        window.take(",")
        window.key()
        window.value()
    window.take("}")
    _check_end(window, "object")


def _values(window: "_Window") -> Iterator[Item]:
    window.take("[")
    while window.peek() != "]":
        yield window.value()
        if window.peek() != "]":
            window.take(",")
    window.take("]")


def _check_end(window: "_Window", of: str) -> None:
    if rest := window.peek():
        raise window.broken(f"{rest!r} follows the end of the {of}")


def _lines(window: "_Window") -> Iterator[Item]:
    while (line := window.line()) is not None:
        if not line.strip():
            continue
        if line.strip() == "{":
            raise window.broken("it is one object over several lines instead of a list, or of an object a line")
        try:
            yield Item(line, json.loads(line))
        except (ValueError, RecursionError) as problem:
            yield Item(line, None, f"is not JSON ({problem})")


class _Window:
    """A part of a text file that moves on."""

    def __init__(self, file: TextIO, path: Path):
        self.file, self.path = file, path
        self.text, self.at, self.done = "", 0, 0
        self.decode = json.JSONDecoder().raw_decode

    def more(self) -> bool:
        """Read on and forget what was taken; False at the end of the file, where nothing changes."""
        if len(self.text) - self.at > LONGEST:
            raise self.broken(f"a record is longer than {LONGEST} characters")
        try:
            chunk = self.file.read(CHUNK)
        except UnicodeDecodeError as problem:
            raise UserError(f"data file {str(self.path)!r} is not in UTF-8 ({problem.reason}); save it so.") from None
        if chunk:
            self.text, self.at = self.text[self.at :] + chunk, 0
        return bool(chunk)

    def peek(self) -> str:
        """The next character that is not blank, "" at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in BLANK:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def starts_with(self, pattern: re.Pattern[str]) -> bool:
        """Whether what comes next has this form, as far as it was read."""
        self.peek()
        return pattern.match(self.text, self.at) is not None

    def take(self, character: str) -> None:
        if (found := self.peek()) != character:
            raise self.broken(
                f"{character!r} is missing before {found!r}" if found else f"it ends without {character!r}"
            )
        self.at += 1

    def value(self) -> Item:
        """The next JSON value.  One that reaches the window's edge may go on behind it."""
        self.peek()
        while True:
            value, end, problem = self._decoded()
            if (not problem and end < len(self.text)) or not self.more():
                break
        if problem:
            raise self.broken(problem)
        text, self.at = self.text[self.at : end], end
        self.done += 1
        return Item(text, value)

    def key(self) -> Any:
        """The next name of an object, which is no record, and its colon."""
        name = self.value().value
        self.done -= 1
        self.take(":")
        return name

    def _decoded(self) -> tuple[Any, int, str]:
        try:
            return *self.decode(self.text, self.at), ""
        except (ValueError, RecursionError) as problem:
            return None, self.at, getattr(problem, "msg", str(problem))

    def line(self) -> str | None:
        while (end := self.text.find("\n", self.at)) < 0:
            if not self.more():
                end = len(self.text)
                break
        line, self.at = self.text[self.at : end], end + 1
        return None if not line and end >= len(self.text) else line

    def broken(self, why: str) -> UserError:
        return UserError(f"data file {str(self.path)!r} is not JSON or JSONL: {why}, after {self.done} records.")
