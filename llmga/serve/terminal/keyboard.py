"""What is typed while nobody asks: unseen, so that it does not tear the answer, and kept for the next question."""

import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

MOST_TYPED = 100_000  # bytes that are kept
KEYS = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O.|.)?")  # arrows and the like
ERASED = re.compile(r"[^\r]?[\x7f\b]")
PASTED = re.compile(r"\x1b\[200~(.*?)(?:\x1b\[201~|$)", re.DOTALL)
MARKS_PASTES, MARKS_NONE = "\x1b[?2004h", "\x1b[?2004l"


class Keyboard:
    """A terminal's keys.

    Args:
        descriptor: of the terminal.
        marks: it can be asked to mark what is pasted, whose lines are then one message.
    """

    def __init__(self, descriptor: int, *, marks: bool = True):
        self._descriptor, self._marks, self._typed = descriptor, marks, ""

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While the body runs, keys are not shown unless an editor does; Ctrl-C and Ctrl-Z work, and drop none."""
        try:
            termios = import_module("termios")
            before = termios.tcgetattr(self._descriptor)
        except Exception as problem:  # Windows has no such module, and its error is no OSError
            if not isinstance(problem, ImportError | OSError | ValueError) and type(problem).__name__ != "error":
                raise
            yield
            return
        silent = [*before]
        silent[3] = silent[3] & ~(termios.ECHO | termios.ICANON) | termios.NOFLSH
        termios.tcsetattr(self._descriptor, termios.TCSANOW, silent)
        try:
            yield
        finally:
            self._ask_for(MARKS_NONE)
            termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    def unasked(self) -> None:
        """From now on nobody asks, until `line` does."""
        self._ask_for(MARKS_PASTES)

    def line(self) -> tuple[str, bool]:
        """The first line that was typed, and whether the return key ended it; those after it wait for the next call."""
        self._typed = said(self._typed + self._waiting())
        line, ended, self._typed = self._typed.lstrip("\r").partition("\r")
        return line, bool(ended)

    def _ask_for(self, marks: str) -> None:
        if self._marks:
            sys.stdout.write(marks)
            sys.stdout.flush()

    def _waiting(self) -> str:
        found = b""
        with suppress(OSError, ValueError):  # of Windows, which has this for connections only
            while len(found) < MOST_TYPED and select.select([self._descriptor], [], [], 0)[0]:
                if not (more := os.read(self._descriptor, 4096)):
                    break
                found += more
        return found.decode(errors="replace").replace("\n", "\r")


def said(keys: str) -> str:
    """The text that keys make: what was erased and arrows left out; the return key is \\r, a pasted line's end \\n."""
    text = KEYS.sub("", PASTED.sub(lambda paste: paste[1].replace("\r", "\n"), keys))
    while (shorter := ERASED.sub("", text, count=1)) != text:
        text = shorter
    return "".join(letter for letter in text if letter in "\r\n" or letter.isprintable())
