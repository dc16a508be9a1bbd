"""What every command line shares: a parser that says in one sentence what is wrong, readers of values, the start."""

import argparse
import difflib
import math
import os
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from llmga.errors import command_line
from llmga.quiet import silence

ELSEWHERE = ("batch", "session")  # flags that bring pictures of their own
SIDES = (16, 2048)  # pixels
UNKNOWN = "unrecognized arguments: "  # how argparse begins its complaint
WIDTH = 78
_KINDS = {int: "a whole number", float: "a number"}


class Parser(argparse.ArgumentParser):
    """A parser whose flags are whole, in hyphens or underscores, and whose complaint is one sentence and exit code 2.

    Args:
        prog: what was called; where it is `python -m …`, the `llmga COMMAND` that was typed in its place.
        aliases: what other tools call a flag of ours, without dashes and with hyphens: `{"data-path": "data"}`.
        options: those of `argparse.ArgumentParser`.

    Attributes:
        needed: flags of which one must be given, unless the pictures come from elsewhere (`ELSEWHERE`).
    """

    def __init__(self, prog: str | None = None, *, aliases: Mapping[str, str] | None = None, **options: Any):
        super().__init__(prog=_called(prog), allow_abbrev=False, **options)
        self.aliases: dict[str, str] = dict(aliases or {})
        self.needed: list[tuple[str, ...]] = []

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does, and sees that what is needed was given."""
        return self._complete(super().parse_args(self._spelled(args), namespace))

    def parse_intermixed_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """The same where words may stand between flags."""
        return self._complete(super().parse_intermixed_args(self._spelled(args), namespace))

    def complete(self) -> None:
        """Tell a shell that asks for it what may come next, and exit."""
        if "_ARGCOMPLETE" in os.environ:
            import argcomplete

            argcomplete.autocomplete(self)

    def format_help(self) -> str:
        """The flags, and below them in one place what else is understood."""
        shown = super().format_help()
        if not self.aliases:
            return shown
        pairs = ", ".join(f"--{alias} (--{ours})" for alias, ours in self.aliases.items())
        return f"{shown}\n{textwrap.fill(f'other names that are understood: {pairs}', WIDTH, break_on_hyphens=False)}\n"

    def error(self, message: str) -> NoReturn:
        """Exit with 2 after one sentence; for an unknown flag it names the nearest one."""
        if message.startswith(UNKNOWN):
            near = ", ".join(dict.fromkeys(self._near(message.removeprefix(UNKNOWN).split())))
            message += f"; did you mean {near}?" if near else "; --help lists the flags."
        self.exit(2, f"error: {message.rstrip('.')}{'' if message.endswith('?') else '.'}\n")

    def _complete(self, found: Any) -> Any:
        for flags in self.needed:
            if all(getattr(found, name.replace("-", "_"), None) is None for name in (*flags, *ELSEWHERE)):
                self.error(f"the following argument is required: {' or '.join(f'--{flag}' for flag in flags)}")
        return found

    def _flags(self) -> dict[str, str]:
        """Every flag as it was declared first, by its name in hyphens; last the aliases."""
        found: dict[str, str] = {}
        for spelling in self._option_string_actions:
            found.setdefault(hyphened(spelling), spelling)
        return found | {alias: found[ours] for alias, ours in self.aliases.items() if alias not in found}

    def _spelled(self, args: Sequence[str] | None) -> list[str]:
        """The words of a command line, every flag as it was declared."""
        self.complete()
        flags, words = self._flags(), list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        return [_renamed(word, flags) for word in words[:end]] + words[end:]

    def _near(self, words: Sequence[str]) -> Iterator[str]:
        flags = self._flags()
        for word in words:
            if word.startswith("--"):
                found = difflib.get_close_matches(hyphened(word.partition("=")[0]), flags, n=1)
                yield from (flags[name] for name in found)


def _called(prog: str | None) -> str | None:
    """`llmga chat`, as `llmga.__main__` leaves it, in place of the module that it calls."""
    typed = sys.argv[0]
    return typed if typed.startswith("llmga ") and (prog is None or prog.startswith("python -m ")) else prog


def hyphened(flag: str) -> str:
    """The name of a flag without its dashes, in hyphens."""
    return flag.lstrip("-").replace("_", "-")


def _renamed(word: str, flags: Mapping[str, str]) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return flags.get(hyphened(name), name) + equals + value


def number(kind: type, low: float, high: float) -> Callable[[str], float]:
    """A reader of numbers from `low` to `high`, both included."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # false for nan, too
            allowed = f"{low} to {high}" if low != high else f"only {low}"
            raise argparse.ArgumentTypeError(f"{text!r} is out of range; use {_KINDS[kind]}, {allowed}")
        return value

    return read


def size(text: str) -> tuple[int, int]:
    """`64` or `64x48` as (width, height) in pixels."""
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; use pixels such as 64 or 64x48")
    width, height = int(sides[0]), int(sides[-1])
    for side in (width, height):
        if not SIDES[0] <= side <= SIDES[1]:
            raise argparse.ArgumentTypeError(f"{side} is out of range; use {SIDES[0]} to {SIDES[1]} pixels")
        if side % 8:
            below = side // 8 * 8
            raise argparse.ArgumentTypeError(f"{side} is not a multiple of 8; use {below} or {below + 8}")
    return width, height


def run(command: Callable[[], int | None]) -> NoReturn:
    """Exit with what `command` returns, or as every command line does."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="replace")  # neither a stray byte nor a narrow terminal ends a session
    sys.exit(command_line(lambda argv=None: command() or 0)())


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """While libraries are imported, Ctrl-C ends the process as it ends any program, without a traceback."""
    usual = signal.getsignal(signal.SIGINT)
    ours = usual is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, usual)


def quiet_libraries() -> None:
    """Silence start-up chatter of the libraries, once the flags are read: this imports them, which takes seconds.

    For entry points only: importing a module must set nothing.
    """
    with _ended_by_ctrl_c():
        import torch

        silence()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed prints on stdout that it found no GPU
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
