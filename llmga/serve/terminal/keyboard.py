"""What is typed while nobody asks: unseen, so that it does not tear the answer, and kept for the next question."""

import os
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

MOST_TYPED = 100_000  # bytes that are kept
KEYS = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O.|.)?")  # arrows and the like
ERASED = re.compile(r"[^\n]?[\x7f\b]")


class Keyboard:
    """A terminal's keys.

    Args:
        descriptor: of the terminal.

    Attributes:
        typed: the text that was typed in `unasked` so far; whoever asks takes it.
    """

    def __init__(self, descriptor: int):
        self._descriptor, self.typed = descriptor, ""

    @contextmanager
    def unasked(self) -> Iterator[None]:
        """While the body runs, keys are not shown; Ctrl-C and Ctrl-Z work."""
        try:
            termios = import_module("termios")
            before = termios.tcgetattr(self._descriptor)
        except (ImportError, OSError, ValueError):  # Windows
            yield
            return
        except Exception as problem:  # termios.error is no OSError
            if type(problem).__name__ != "error":
                raise
            yield
            return
        quiet = [*before]
        quiet[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(self._descriptor, termios.TCSANOW, quiet)
        try:
            yield
        finally:
            self.typed += said(self._waiting())
            termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    def taken(self) -> str:
        """What was typed; it is forgotten here."""
        typed, self.typed = self.typed, ""
        return typed

    def _waiting(self) -> str:
        found = b""
        while len(found) < MOST_TYPED and select.select([self._descriptor], [], [], 0)[0]:
            if not (more := os.read(self._descriptor, 4096)):
                break
            found += more
        return found.decode(errors="replace")


def said(keys: str) -> str:
    """The text that keys make: without arrows and other controls, what was erased left out."""
    text = KEYS.sub("", keys.replace("\r", "\n"))
    while (shorter := ERASED.sub("", text, count=1)) != text:
        text = shorter
    return "".join(letter for letter in text if letter == "\n" or letter.isprintable())
