"""Markdown drawn while it is written: only lines that change are touched, so that nothing flickers.

What stands on the screen is remembered line by line.  A new piece of text is rendered with what came before it, and
from the first line that became another one on the screen is written anew; mostly that is the end of the last line.
Paragraphs that are finished are let go, so that a long answer costs no more with every word.
"""

import re
import time
from collections.abc import Callable
from typing import TextIO

from markdown_it import MarkdownIt
from rich.console import Console
from rich.markdown import Heading, Markdown
from rich.text import Text

PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])  # "<b>" is said, not obeyed
PAUSE = 0.04  # seconds at least between two drawings: an eye sees no more
FENCE = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)
NEXT = re.compile(r"\n\n+(?=[^\s\d*+\-|>])")  # where a paragraph ends, and what follows belongs to no list or table
UP, CLEAR = "\033[{}A", "\033[J"


class _Heading(Heading):
    LEVEL_ALIGN = {}  # all at the left


class _Markdown(Markdown):
    elements = {**Markdown.elements, "heading_open": _Heading}


def markdown(text: str) -> Markdown:
    """The text as rich draws it; line ends stay line ends, as people who chat mean them, and addresses can be read."""
    drawn = _Markdown("", code_theme="ansi_dark", hyperlinks=False)
    drawn.parsed = PARSER.parse(text)
    for token in drawn.parsed:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
    return drawn


def rendered(console: Console, text: str) -> list[str]:
    """The lines of a text, without blanks at their ends, one column narrower than the screen."""
    with console.capture() as capture:
        console.print(markdown(text), width=max(console.width - 1, 1))
    return [line.rstrip() for line in capture.get().rstrip("\n").split("\n")]


def finished(text: str) -> int:
    """How much of a text whatever follows cannot change: the paragraphs before its last one, no code block cut."""
    ends = [match.end() for match in NEXT.finditer(text)]
    return next((end for end in reversed(ends) if len(FENCE.findall(text[:end])) % 2 == 0), 0)


class MarkdownStream:
    """One stretch of words on the screen, drawn as it grows.

    Args:
        console: knows how large the screen is and which colours it has.
        out: where it is written.
        clock: seconds, by which drawings keep apart.
    """

    def __init__(self, console: Console, out: TextIO, clock: Callable[[], float] = time.monotonic):
        self._console, self._out, self._clock = console, out, clock
        self._text, self._drawn = "", -PAUSE
        self._shown: list[str] = []
        self._width = console.width

    def feed(self, text: str) -> None:
        """Add a piece, and draw if the last drawing is long enough ago."""
        self._text += text
        if self._clock() - self._drawn >= PAUSE:
            self._draw()
            if cut := finished(self._text):
                self._let_go(cut)

    def close(self) -> None:
        """Draw what is left, and end the last line."""
        if self._text.strip():
            self._draw()
        if self._shown:
            self._write("\n")
        self._text, self._shown = "", []

    def _let_go(self, cut: int) -> None:
        """Take the finished paragraphs and the blank line behind them as drawn for good."""
        rest = rendered(self._console, self._text[cut:])
        self._text, self._shown = self._text[cut:], self._shown[len(self._shown) - len(rest) :]

    def _draw(self) -> None:
        self._drawn = self._clock()
        lines = rendered(self._console, self._text)
        rows = self._rows_above()
        same = next((n for n, pair in enumerate(zip(self._shown, lines, strict=False)) if pair[0] != pair[1]), None)
        same = min(len(self._shown), len(lines)) if same is None else same
        if self._width != self._console.width:  # the screen has broken its lines anew
            same, self._width = 0, self._console.width
        self._rewrite(lines, same, rows)
        self._shown = lines

    def _rows_above(self) -> list[int]:
        """For each line on the screen, how many rows the cursor is below its beginning."""
        width, below, found = self._console.width, 0, []
        for number, line in enumerate(reversed(self._shown)):
            taken = max(1, -(-Text.from_ansi(line).cell_len // width))
            below += taken - 1 if number == 0 else taken
            found.append(below)
        return found[::-1]

    def _rewrite(self, lines: list[str], same: int, rows: list[int]) -> None:
        """Write the lines from `same` on; what has left the screen at its top stays as it is."""
        while same < len(rows) and rows[same] >= self._console.height:
            same += 1
        if not self._shown or same == len(rows):
            between = "\n" if self._shown and len(lines) > same else ""
            self._write(between + "\n".join(lines[same:]))
        elif lines[same:] and lines[same].startswith(last := self._shown[-1]) and same == len(rows) - 1:
            self._write("\n".join(lines[same:]).removeprefix(last))
        else:
            up = UP.format(rows[same]) if rows[same] else ""
            self._write(f"{up}\r{CLEAR}" + "\n".join(lines[same:]))

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()
