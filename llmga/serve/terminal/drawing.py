"""Answers drawn in a terminal."""

import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import AssistantEvent, Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.record import Record
from llmga.assistant.seam_words import seam_words
from llmga.assistant.session import Turn
from llmga.errors import UserError
from llmga.plain_text import plain
from llmga.serve.terminal.inline import Draw, reduced

ENOUGH = 3  # times that Ctrl-C is pressed until even an answer that does not stop is left


@dataclass
class Terminal:
    """What an assistant's events are written on as plain text: words and pictures on `out`, progress and errors on
    `err`.  `llmga.serve.terminal.screen` draws the same for a person.

    Attributes:
        pictures: where finished pictures are saved.
        debug: print raw replies and tracebacks, too.
        inline: makes escapes that show a picture; None where the terminal shows none.
        failures: how many errors were printed.
        leaving: Ctrl-C was pressed twice in one answer.
        files: where pictures of these records were saved, the latest last.
    """

    pictures: ImageFolder
    debug: bool = False
    inline: Draw | None = None
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    failures: int = 0
    leaving: bool = False
    files: list[tuple[Record, Path]] = field(default_factory=list)
    _bar: tqdm | None = None
    _line_open: bool = False
    _trims: bool = True

    def answer(self, assistant: Assistant, turn: Turn) -> None:
        """Draw the answer to a turn."""
        self.play(assistant, assistant.stream(turn))

    def play(self, assistant: Assistant, events: Iterator[AssistantEvent], speaker: str = "Assistant: ") -> None:
        """Draw what an assistant does.  Ctrl-C ends it and keeps the session; twice asks to leave, too."""
        self._begin(speaker)
        try:
            with ctrl_c(self._stopper(assistant)):
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

    def rows(self, rows: Iterable[tuple[str, str]], width: int = 0) -> None:
        """Print a table of two columns, the left one `width` wide; 0 leaves one blank between them."""
        self.info("\n".join(f"{left:{width}}{right}" if width else f"{left} {right}" for left, right in rows))

    def error(self, message: str) -> None:
        """Print an error, in one sentence."""
        self._close_bar()
        self._fresh_line()
        self.failures += 1
        self._complain(f"error: {message}")

    def file_of(self, record: Record) -> Path | None:
        """Where the picture of this record was saved here; None where it was not."""
        return next((path for saved, path in reversed(self.files) if saved == record), None)

    def _stopper(self, assistant: Assistant) -> Callable[[], None]:
        """What Ctrl-C does in an answer."""
        presses = 0

        def stop() -> None:
            nonlocal presses
            presses += 1
            assistant.cancel()
            self.leaving = presses > 1
            if presses >= ENOUGH:
                raise KeyboardInterrupt

        return stop

    def _begin(self, speaker: str) -> None:
        print(speaker, end="", flush=True, file=self.out)
        self._line_open, self._trims = bool(speaker), True

    def _complain(self, sentence: str) -> None:
        print(sentence, file=self.err, flush=True)

    def exception(self, defect: Exception) -> None:
        """Print a defect, while it is being handled."""
        self.error(f"{type(defect).__name__}: {defect}" + ("" if self.debug else " (--debug shows where)"))
        if self.debug:
            traceback.print_exc(file=self.err)

    def _prompt(self, prompt: str, tokens: str) -> None:
        """Print the prompt; how it is cut where it is longer than one chunk, which costs time and weakens its end."""
        meter = f" ({tokens})" if tokens and ("chunks" in tokens or "only" in tokens or self.debug) else ""
        self._told(prompt, meter)

    def _told(self, prompt: str, meter: str) -> None:
        self.info(f"[{prompt}]{meter}")

    def _save(self, ready: PictureReady) -> None:
        record = ready.record
        try:
            path = self.pictures.save(ready.image, record, ready.parent)
        except UserError as problem:
            self.error(str(problem))
            return
        self.files.append((record, path))
        self.info(f"saved {path} {told_of(record)}")
        if self.inline is not None:
            print(self.inline(reduced(ready.image)), end="", flush=True, file=self.out)

    def _progress(self, step: int, total: int) -> None:
        if self._bar is None:
            self._fresh_line()
            self._bar = self._new_bar(total)
        self._bar.update(step - self._bar.n)

    def _new_bar(self, total: int) -> tqdm:
        return tqdm(total=total, desc="painting", unit="step", file=self.err, leave=False)

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


def told_of(record: Record) -> str:
    """What is said of a picture beside its place: "(seed 7, seam hidden)"."""
    told = seam_words(record) or (str(record.changed) if record.changed else "")
    return f"(seed {record.seed}{', ' if told else ''}{told})"


@contextmanager
def ctrl_c(action: Callable[[], None]) -> Iterator[None]:
    """While the body runs, Ctrl-C calls `action` instead of raising: nothing is torn in mid-token or mid-step."""
    previous = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
