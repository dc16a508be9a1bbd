"""Answers drawn in a terminal."""

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from tqdm import tqdm

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import AssistantEvent, Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.record import Record
from llmga.assistant.session import Turn
from llmga.errors import UserError
from llmga.plain_text import plain
from llmga.seams import VISIBLE
from llmga.serve.terminal.inline import Draw, reduced

DIM, PLAIN = "\033[2m", "\033[0m"


@dataclass
class Terminal:
    """A terminal that an assistant's events are drawn on: words and pictures on `out`, progress and errors on `err`.

    Attributes:
        pictures: where finished pictures are saved.
        debug: print raw replies and tracebacks, too.
        inline: makes escapes that show a picture; None where the terminal shows none.
        failures: how many errors were printed.
    """

    pictures: ImageFolder
    debug: bool = False
    inline: Draw | None = None
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    failures: int = 0
    _bar: tqdm | None = None
    _line_open: bool = False
    _trims: bool = True

    def answer(self, assistant: Assistant, turn: Turn) -> None:
        """Draw the answer to a turn."""
        self.play(assistant, assistant.stream(turn))

    def play(self, assistant: Assistant, events: Iterator[AssistantEvent], speaker: str = "Assistant: ") -> None:
        """Draw what an assistant does.  Ctrl-C ends it and keeps the session."""
        print(speaker, end="", flush=True, file=self.out)
        self._line_open, self._trims = bool(speaker), True
        try:
            with ctrl_c(assistant.cancel):
                for event in events:
                    self.draw(event)
        except Exception as defect:  # a defect in one answer should not cost the conversation
            self.exception(defect)
        finally:
            self._close_bar()
            self._fresh_line()
        if self.debug and assistant.session.conversation.messages:
            print(f"raw reply: {assistant.session.conversation.messages[-1].text!r}", file=self.err)

    def draw(self, event: AssistantEvent) -> None:
        """Show one event."""
        if not isinstance(event, Denoising):
            self._close_bar()
        match event:
            case TextDelta(text):
                self._write(plain(text))
            case PromptFound(prompt, tokens):
                self._prompt(plain(prompt), tokens)
            case Denoising(step=step, total=total):
                self._progress(step, total)
            case PictureReady():
                self._save(event)
            case Failed(message):
                self.error(message)
            case Stopped():
                self.info("stopped")

    def info(self, text: str) -> None:
        """Print one or more whole lines."""
        self._fresh_line()
        print(text, flush=True, file=self.out)

    def error(self, message: str) -> None:
        """Print an error, in one sentence."""
        self._close_bar()
        self._fresh_line()
        self.failures += 1
        print(f"error: {message}", file=self.err, flush=True)

    def exception(self, defect: Exception) -> None:
        """Print a defect, while it is being handled."""
        self.error(f"{type(defect).__name__}: {defect}" + ("" if self.debug else " (--debug shows where)"))
        if self.debug:
            traceback.print_exc(file=self.err)

    def _prompt(self, prompt: str, tokens: str) -> None:
        """Print the prompt; how it is cut where it is longer than one chunk, which costs time and weakens its end."""
        meter = f" ({tokens})" if tokens and ("chunks" in tokens or "only" in tokens or self.debug) else ""
        self.info(f"{DIM}[{prompt}]{meter}{PLAIN}" if self.out.isatty() else f"[{prompt}]{meter}")

    def _save(self, ready: PictureReady) -> None:
        record = ready.record
        try:
            path = self.pictures.save(ready.image, record, ready.parent)
        except UserError as problem:
            self.error(str(problem))
            return
        told = _seam(record) or (f", {record.changed}" if record.changed else "")
        self.info(f"saved {path} (seed {record.seed}{told})")
        if self.inline is not None:
            print(self.inline(reduced(ready.image)), end="", flush=True, file=self.out)

    def _progress(self, step: int, total: int) -> None:
        if self._bar is None:
            self._fresh_line()
            self._bar = tqdm(total=total, desc="painting", unit="step", file=self.err, leave=False)
        self._bar.update(step - self._bar.n)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write(self, text: str) -> None:
        text = text.lstrip() if self._trims else text  # the spaces around a cut-out prompt
        if text:
            print(text, end="", flush=True, file=self.out)
            self._line_open, self._trims = not text.endswith("\n"), False

    def _fresh_line(self) -> None:
        if self._line_open:
            print(flush=True, file=self.out)
        self._line_open, self._trims = False, True


def _seam(record: Record) -> str:
    """Whether the edge of what was painted can be seen, and what may help; its figures stand in the record."""
    if record.seam_after is None:
        return ""
    if record.seam_after.colour < VISIBLE:
        return ", seam hidden"
    better = "match+blend" if record.restorer in (None, "none", "match") else "diffrir-x1"
    return ", seam visible" + (f": try --restorer {better}" if better != record.restorer else "")


@contextmanager
def ctrl_c(action: Callable[[], None]) -> Iterator[None]:
    """While the body runs, Ctrl-C calls `action` instead of raising: nothing is torn in mid-token or mid-step."""
    previous = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
