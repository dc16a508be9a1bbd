"""A reply in pieces -> what is spoken and what is to be painted.

parse(["Here: <gen_", "image> a red fox </gen_image> Done."])
-> Spoken("Here: "), PromptStarted(), GenerationPrompt("a red fox", closed=True), Spoken(" Done.")
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

START, END = "<gen_image>", "</gen_image>"


@dataclass(frozen=True)
class Spoken:
    """Words for the person, as soon as they cannot be the beginning of a tag."""

    text: str


@dataclass(frozen=True)
class PromptStarted:
    """The first visible word of a generation prompt has arrived."""


@dataclass(frozen=True)
class GenerationPrompt:
    """What to paint.  `closed` is False when the reply ended before the end tag."""

    text: str
    closed: bool


Event = Spoken | PromptStarted | GenerationPrompt


class GenerationPromptParser:
    """Cuts a reply by its tags, however it is cut into chunks.

    An end tag without a start is spoken text; a start tag within a prompt is dropped; a prompt of white space only
    gives no event.  The one space that separates a prompt from each tag is not part of it.
    """

    def __init__(self) -> None:
        self._text = ""  # not yet reported
        self._inside = False
        self._started = False

    def feed(self, chunk: str) -> Iterator[Event]:
        """The events that one more piece of the reply completes."""
        self._text += chunk
        while (END if self._inside else START) in self._text:
            yield from self._tag()
        if self._inside:
            yield from self._start(without_partial(without_partial(self._text, END), START))
        else:
            ready = without_partial(self._text, START)
            yield from self._spoken(ready)
            self._text = self._text[len(ready) :]

    def close(self) -> Iterator[Event]:
        """The events that the end of the reply completes."""
        if self._inside:
            yield from self._prompt(without_partial(self._text, END), closed=False)
        else:
            yield from self._spoken(self._text)
        self._text, self._inside = "", False

    def _tag(self) -> Iterator[Event]:
        before, _, self._text = self._text.partition(END if self._inside else START)
        yield from self._prompt(before, closed=True) if self._inside else self._spoken(before)
        self._inside = not self._inside

    def _spoken(self, text: str) -> Iterator[Event]:
        if text:
            yield Spoken(text)

    def _start(self, text: str) -> Iterator[Event]:
        if not self._started and text.replace(START, "").strip():
            self._started = True
            yield PromptStarted()

    def _prompt(self, text: str, closed: bool) -> Iterator[Event]:
        yield from self._start(text)
        if self._started:
            text = text.replace(START, "").removeprefix(" ")
            yield GenerationPrompt(text.removesuffix(" "), closed)
        self._started = False


def parse(chunks: Iterable[str]) -> Iterator[Event]:
    """The events of a whole reply that comes in chunks."""
    parser = GenerationPromptParser()
    for chunk in chunks:
        yield from parser.feed(chunk)
    yield from parser.close()


def without_partial(text: str, tag: str) -> str:
    """The text without the longest ending that the tag begins with: it may yet become the tag."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:length]):
            return text[:-length]
    return text
