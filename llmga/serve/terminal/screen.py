"""Answers drawn for a person: Markdown as it is written, prompts for the painter dim and apart, words whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from llmga.serve.terminal.drawing import Terminal
from llmga.serve.terminal.markdown_stream import MarkdownStream

INDENT = 2  # columns before a prompt for the painter
BAR = "{desc} |{bar}| {n_fmt}/{total_fmt}, {remaining} left"


def draws(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether something more than plain text is wanted: by a terminal that can, and a person who did not forbid it."""
    return out.isatty() and not environment.get("NO_COLOR") and environment.get("TERM", "dumb") not in ("dumb", "")


@dataclass
class Screen(Terminal):
    """A terminal with colours and a cursor that can be moved."""

    _console: Console = field(init=False)
    _errors: Console = field(init=False)
    _stream: MarkdownStream | None = None

    def __post_init__(self) -> None:
        self._console = Console(file=self.out, highlight=False)
        self._errors = Console(file=self.err, highlight=False)

    def info(self, text: str) -> None:
        """Print one or more whole lines, broken between words; those with a longer one, such as a path, are left whole
        for copying."""
        self._fresh_line()
        for line in text.split("\n"):
            longest = max(map(cell_len, line.split()), default=0)
            self._console.print(Text(line), soft_wrap=longest >= self._console.width)

    def rows(self, rows: Iterable[tuple[str, str]], width: int = 0) -> None:
        """Print a table of two columns, each broken between words."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", min_width=min(width, self._console.width // 3) or None)
        table.add_column()
        for left, right in rows:
            table.add_row(Text(left), Text(right))
        self._fresh_line()
        self._console.print(table)

    def _begin(self, speaker: str) -> None:
        self._line_open, self._trims = False, True

    def _complain(self, sentence: str) -> None:
        self._errors.print(Text(sentence, style="red"))

    def _told(self, prompt: str, meter: str) -> None:
        """The prompt, dim and apart from the answer."""
        apart = self._line_open
        self._fresh_line()
        self._console.print(Padding(Text(prompt + meter, style="dim"), (int(apart), 0, 0, INDENT)))

    def _new_bar(self, total: int) -> tqdm:
        return tqdm(total=total, desc="painting", file=self.err, leave=False, dynamic_ncols=True, bar_format=BAR)

    def _write(self, text: str) -> None:
        text = text.lstrip() if self._trims else text
        if not text:
            return
        if self._stream is None:
            self._stream = MarkdownStream(self._console, self.out)
        self._stream.feed(text)
        self._line_open, self._trims = True, False

    def _fresh_line(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._line_open, self._trims = False, True
