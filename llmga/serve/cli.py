"""The terminal: reads turns, draws the flow's events.  Every `cli*` module is this loop with other settings."""

import argparse
import importlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NoReturn, TextIO

from PIL import Image
from tqdm import tqdm

from llmga.diffrir.restorers import Restorer, open_restorer
from llmga.diffusers.checkpoints import find_checkpoint
from llmga.diffusers.generators import Generator, load_generator
from llmga.errors import UserError
from llmga.llava import places
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.opening import NewChat, open_planner
from llmga.runtime import quiet_libraries
from llmga.serve import args as flags
from llmga.serve.flow import (
    Assistant,
    Denoising,
    Failed,
    FlowEvent,
    PictureReady,
    PromptFound,
    Stopped,
    TextDelta,
    Turn,
)
from llmga.serve.plain_text import plain
from llmga.serve.provenance import ModelMark, Record
from llmga.serve.session import SavedPictures

DIM, PLAIN = "\033[2m", "\033[0m"


@dataclass(frozen=True)
class Models:
    """What is loaded once and serves any number of sessions."""

    new_chat: NewChat
    generator: Generator
    restorer: Restorer
    marks: tuple[ModelMark, ...]
    upscaler: Restorer | None = None

    @classmethod
    def load(cls, args: argparse.Namespace) -> "Models":
        """Raises: UserError when a folder lacks something."""
        restorer = open_restorer(args.restorer, args.restorer_path, args.device)
        painter = find_checkpoint(args.sdmodel_id)
        words = args.model_path if isinstance(args.model_path, Endpoint) else places.find_checkpoint(args.model_path)
        base = places.find_checkpoint(args.model_base) if args.model_base is not None else None
        new_chat = open_planner(words, base, conv_mode=args.conv_mode, **flags.place_words(args))
        generator = load_generator(painter, **flags.painter_options(args))
        parts = {"language": words, "language base": base, "painter": painter, "restorer": args.restorer_path}
        marks = tuple(ModelMark.of(role, path) for role, path in parts.items() if path is not None)
        return cls(new_chat, generator, restorer, marks)

    def assistant(self, args: argparse.Namespace) -> Assistant:
        """A fresh session."""
        chosen = flags.settings(args)
        return Assistant(self.new_chat(), self.generator, self.restorer, chosen, self.marks, self.upscaler)


@dataclass
class Terminal:
    """Draws events: words and pictures on `out`, progress and errors on `err`."""

    pictures: SavedPictures
    debug: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    failures: int = 0
    _bar: tqdm | None = None
    _line_open: bool = False
    _trims: bool = True

    def answer(self, assistant: Assistant, turn: Turn) -> None:
        """Draw one answer.  Ctrl-C ends it and keeps the session."""
        print("Assistant: ", end="", flush=True, file=self.out)
        self._line_open = self._trims = True
        try:
            with ctrl_c(assistant.cancel):
                for event in assistant.respond(turn):
                    self.draw(event)
        except Exception as defect:  # a defect in one answer should not cost the conversation
            self._fail(f"{type(defect).__name__}: {defect}" + ("" if self.debug else " (--debug shows where)"))
            if self.debug:
                traceback.print_exc(file=self.err)
        finally:
            self._close_bar()
            self._fresh_line()
        if self.debug and assistant.chat.conversation.messages:
            print(f"raw reply: {assistant.chat.conversation.messages[-1].text!r}", file=self.err)

    def draw(self, event: FlowEvent) -> None:
        """Show one event."""
        if not isinstance(event, Denoising):
            self._close_bar()
        match event:
            case TextDelta(text):
                self._write(plain(text))
            case PromptFound(prompt, tokens):
                prompt = plain(prompt)
                self._line(f"{DIM}[{prompt}]{PLAIN}" if self.out.isatty() else f"[{prompt}]")
                if self.debug and tokens:
                    print(f"prompt of {tokens}", file=self.err)
            case Denoising(step=step, total=total):
                self._progress(step, total)
            case PictureReady(image, record):
                self._save(image, record)
            case Failed(message):
                self._fail(message)
            case Stopped():
                self._line("stopped")

    def _save(self, image: Image.Image, record: Record) -> None:
        try:
            path = self.pictures.save(image, record)
        except UserError as problem:
            self._fail(str(problem))
        else:
            self._line(f"saved {path} (seed {record.seed})")

    def _progress(self, step: int, total: int) -> None:
        if self._bar is None:
            self._fresh_line()
            self._bar = tqdm(total=total, desc="painting", unit="step", file=self.err, leave=False)
        self._bar.update(step - self._bar.n)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _fail(self, message: str) -> None:
        self._close_bar()
        self._fresh_line()
        self.failures += 1
        print(f"error: {message}", file=self.err, flush=True)

    def _write(self, text: str) -> None:
        text = text.lstrip() if self._trims else text  # the spaces around a cut-out prompt
        if text:
            print(text, end="", flush=True, file=self.out)
            self._line_open, self._trims = not text.endswith("\n"), False

    def _line(self, text: str) -> None:
        self._fresh_line()
        print(text, flush=True, file=self.out)

    def _fresh_line(self) -> None:
        if self._line_open:
            print(flush=True, file=self.out)
        self._line_open, self._trims = False, True


@contextmanager
def ctrl_c(action: Callable[[], None]) -> Iterator[None]:
    """While the body runs, Ctrl-C calls `action` instead of raising: nothing is torn in mid-token or mid-step."""
    previous = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def ask() -> str | None:
    """The next line a person typed; None at the end: an empty line, the end of the input or Ctrl-C.

    A line of blanks only is a slip of the thumb, and asked for again.
    """
    try:
        line = typed = input("You: ")
        while typed and not (line := typed.strip()):
            typed = input("You: ")
    except (EOFError, KeyboardInterrupt):
        print()
        return None
    if not sys.stdin.isatty():
        print(line)  # a piped conversation reads as a transcript
    return line or None


def converse(
    assistant: Assistant,
    terminal: Terminal,
    picture: Image.Image | None = None,
    first: str | None = None,
    mask: Image.Image | None = None,
) -> None:
    """Ask and answer until the person ends it.

    The picture and its mask go with the first message, `first` if it is given.
    """
    images = () if picture is None else (picture,)
    if first is not None:
        print(f"You: {first}")
    text = ask() if first is None else first
    while text is not None:
        terminal.answer(assistant, Turn(text, images, mask))
        images, mask, text = (), None, ask()


def chat(args: argparse.Namespace, first: str | None = None) -> None:
    """Check, load, talk.  Raises: UserError."""
    bundled = args.sdmodel_id is None
    picture = flags.check(args)
    picture, mask = flags.region(args) or (picture, None)
    pictures = SavedPictures(args.save_path)
    models = Models.load(args)
    if bundled:
        print(f"No --sdmodel_id given: the bundled toy model ({models.generator.describe()['family']}) paints.")
    with suppress(ImportError):
        importlib.import_module("readline")  # line editing and history for input(), where the system has it
    converse(models.assistant(args), Terminal(pictures, args.debug), picture, first, mask)


def run(command: Callable[[], int | None]) -> NoReturn:
    """Exit with what `command` returns; a person's mistake is one sentence and 2, Ctrl-C is 130."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # neither a stray byte nor a narrow terminal ends a session
    try:
        sys.exit(command() or 0)
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def main(family: str, picture: bool, argv: Sequence[str] | None = None) -> NoReturn:
    """One command line: `picture` says whether it starts from a picture or from words only."""
    quiet_libraries()
    parser = flags.build_parser(
        f"cli{'' if picture else '2'}-{family}",
        f"Talk about {'a picture' if picture else 'what you want to see'}; {family.upper()} paints. "
        "An empty line ends, Ctrl-C stops an answer.",
        picture,
        task=family.partition("-")[2] or None,
    )
    run(lambda: chat(parser.parse_args(argv)))
