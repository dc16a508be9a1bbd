"""A reply in pieces -> what is spoken and what is to be painted.

parse(["Here: <gen_", "image> a red fox </gen_image> Done."])
-> Spoken("Here: "), PromptStarted(), GenerationPrompt("a red fox", closed=True), Spoken(" Done.")
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex

from llmga.errors import UserError

START, END = "<gen_image>", "</gen_image>"
LONGEST_TAG = 25  # characters, in any spelling
# The two tags as models misspell them: in any case, with spaces inside, "-" or nothing for "_" (also Markdown's "\_"),
# "img" or a plural, square brackets, and the slash of the end tag doubled, turned around or behind the name.
TAG = regex.compile(
    r"[<\[] {0,2}(?P<slash>[/\\]{0,2}) {0,2}gen[ _\\-]{0,3}ima?ge?s? {0,2}(?P<late>[/\\]?) {0,2}[>\]]",
    regex.IGNORECASE,
)
_UNREADABLE = "\ufffd"  # half a character, as tokenizers show it


@dataclass(frozen=True)
class Spoken:
    """Words for the person, as soon as they cannot be the beginning of a tag."""

    text: str


@dataclass(frozen=True)
class PromptStarted:
    """The first visible character of a generation prompt has arrived."""


@dataclass(frozen=True)
class GenerationPrompt:
    """What to paint.  `closed` is False when the reply ended before the end tag."""

    text: str
    closed: bool


Event = Spoken | PromptStarted | GenerationPrompt


class GenerationPromptParser:
    """Cuts a reply by its tags, however it is cut into chunks.

    * A misspelt tag (`TAG`) is a tag; anything else, such as "a < b" or "<b>", is text.
    * A start tag within a prompt ends it and begins the next: what models write after a start tag is a description.
    * A prompt without a visible character gives no event, and an end tag outside a prompt is dropped.
    * The one space that separates a prompt from each tag is not part of it.

    Attributes:
        prompt: the text so far of the open prompt; None outside one.
        started: the open prompt has a visible character.
        found: how many generation prompts have ended.
        held: the end of the text, fewer than `LONGEST_TAG` characters, which may yet become a tag.
    """

    def __init__(self) -> None:
        self.prompt: str | None = None
        self.started: bool = False
        self.found: int = 0
        self.held: str = ""

    def feed(self, chunk: str) -> Iterator[Event]:
        """The events that one more piece of the reply completes."""
        self.held += chunk
        while (tag := TAG.search(self.held, partial=True)) and not tag.partial:
            words, self.held = self.held[: tag.start()], self.held[tag.end() :]
            yield from self._words(words)
            yield from self._tag(bool(tag["slash"] or tag["late"]))
        certain = tag.start() if tag else len(self.held)
        words, self.held = self.held[:certain], self.held[certain:]
        yield from self._words(words)

    def close(self) -> Iterator[Event]:
        """The events that the end of the reply completes."""
        if self.prompt is None:
            yield from self._words(self.held)
        else:  # a tag that was begun is not part of the prompt
            yield from self._ended(closed=False)
        self.held = ""

    def _words(self, text: str) -> Iterator[Event]:
        if self.prompt is None:
            if text:
                yield Spoken(text)
            return
        self.prompt += text
        if not self.started and visible(text):
            self.started = True
            yield PromptStarted()

    def _tag(self, ends: bool) -> Iterator[Event]:
        if self.prompt is not None:
            yield from self._ended(closed=True)
        self.prompt = None if ends else ""

    def _ended(self, closed: bool) -> Iterator[Event]:
        if self.started and self.prompt is not None:
            self.found += 1
            yield GenerationPrompt(self.prompt.removeprefix(" ").removesuffix(" "), closed)
        self.prompt, self.started = None, False


def parse(chunks: Iterable[str], parser: GenerationPromptParser | None = None) -> Iterator[Event]:
    """The events of a whole reply that comes in chunks.

    Args:
        parser: one that has read the beginning of the reply.
    """
    parser = parser or GenerationPromptParser()
    for chunk in chunks:
        yield from parser.feed(chunk)
    yield from parser.close()


def canonical(reply: str, closed: bool = False) -> str:
    """The reply with every prompt written as in training, `<gen_image> a red fox </gen_image>`, and no other tag.

    It gives the same events as the reply, up to empty words.

    Args:
        closed: close a last prompt that the reply left open, too.
    """
    before = None
    while reply != before:  # what is dropped may have stood within another tag
        before, events = reply, list(parse([reply]))
        reply = "".join(map(_written, events))
    left_open = bool(events) and isinstance(events[-1], GenerationPrompt) and not events[-1].closed
    return f"{reply} {END}" if closed and left_open else reply


def with_prompt(reply: str, number: int, prompt: str) -> str:
    """The reply, spelt as in training, with its prompt `number` (from 0) replaced.

    Raises:
        UserError: when the prompt cannot stand there, or the reply has no such one.
    """
    if not visible(prompt) or TAG.search(prompt):
        raise UserError(f"{prompt!r} is no prompt; write in words, without tags, what is to be painted.")
    events = list(parse([reply]))
    prompts = [index for index, event in enumerate(events) if isinstance(event, GenerationPrompt)]
    if not 0 <= number < len(prompts):
        raise UserError(f"prompt {number} does not exist, the answer has {len(prompts)}; choose another.")
    events[prompts[number]] = GenerationPrompt(prompt.strip(), closed=True)
    return "".join(map(_written, events))


def _written(event: Event) -> str:
    match event:
        case GenerationPrompt(text, closed):
            return f"{START} {text}" + f" {END}" * closed
        case Spoken(text):
            return text
    return ""


def visible(text: str) -> bool:
    """Whether there is anything to read: neither white space nor control characters nor half a character."""
    return any(character.isprintable() and character not in " " + _UNREADABLE for character in text)
