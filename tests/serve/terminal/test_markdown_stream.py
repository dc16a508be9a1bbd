"""Markdown drawn while it grows: the screen of an emulator shows what drawing it at once would have shown."""

import io
import random

import pyte
import pytest
from rich.console import Console

from llmga.serve.terminal.markdown_stream import MarkdownStream, finished, rendered

TEXTS = {
    "words": "A few words, then many more of them, so that the line is broken between them. " * 3,
    "marks": "# Title\n\nSome **bold and *slanted* words** and `code`.\n\n* one\n* two, more than fits\n\nEnd.",
    "numbers": "1. first\n2. second\n\n   still second\n3. third\n\nAfter it.\n\n> a quotation\n> of two lines\n\nEnd.",
    "code": "Look:\n\n```python\ndef f():\n\n    return 1\n```\n\nThat is it.\n\n    indented\n\nEnd.",
    "table": "| a | b |\n|---|---|\n| 1 | two |\n| 3 | four |\n\nEnd.",
    "wide": "\u4e00\u4e2a\u7ea2\u8272\u7684\u5706" * 12 + " \U0001f600 end",
    "tags": "a < b, <b>tag</b> & <gen>, [x](http://e.org/long/address) ![](p.png)",
    "lines": "first\nsecond\nthird",
}


class Emulator(io.StringIO):
    """A screen that shows what is written."""

    def __init__(self, columns, rows):
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream, self.written = pyte.Stream(self.screen), ""

    def write(self, text):
        self.written += text
        self._stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    def lines(self):
        above = ["".join(row[x].data for x in range(self.screen.columns)) for row in self.screen.history.top]
        shown = [line.rstrip() for line in [*above, *self.screen.display]]
        return "\n".join(shown).rstrip().split("\n")


def streamed(text, columns, rows=60, seed=0, pause=1.0):
    out, clock, chance = Emulator(columns, rows), iter(range(10**6)), random.Random(seed)
    console = Console(file=out, width=columns, height=rows, force_terminal=True, color_system="256", highlight=False)
    stream = MarkdownStream(console, out, clock=lambda: next(clock) * pause)
    while text:
        size = chance.choice((1, 2, 5, 20))
        stream.feed(text[:size])
        text = text[size:]
    stream.close()
    return out, console


@pytest.mark.parametrize("columns", [20, 41, 100])
@pytest.mark.parametrize("name", TEXTS)
def test_what_was_streamed_looks_as_if_drawn_at_once(name, columns):
    out, console = streamed(TEXTS[name], columns)
    once = Emulator(columns, 60)
    once.write("\n".join(rendered(console, TEXTS[name])))
    assert [line for line in out.lines() if line] == [line for line in once.lines() if line]


def test_a_text_longer_than_the_screen_is_whole_in_what_was_scrolled_away():
    text = "\n\n".join(f"paragraph {number} of these" for number in range(40))
    out, _ = streamed(text, 30, rows=8)
    assert [line for line in out.lines() if line] == [f"paragraph {number} of these" for number in range(40)]


def test_hardly_more_is_written_than_there_is():
    text = "word " * 2000
    out, _ = streamed(text, 80, pause=0.001)  # 40 pieces a drawing
    assert len(out.written) < 1.3 * len(text)


def test_finished_paragraphs_end_where_nothing_can_change_them():
    assert finished("one\n\ntwo") == 5 and finished("one\ntwo") == 0
    assert finished("* one\n\n* two") == 0 and finished("```\na\n\nb") == 0 and finished("| a |\n\n| b") == 0
