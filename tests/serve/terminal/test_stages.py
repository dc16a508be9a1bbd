"""What is loading is told, with the time it took."""

import io
import re

import pytest

from llmga.serve.terminal.stages import Stages


def told(environment, problem=None, **options):
    out = io.StringIO()
    with (
        pytest.raises(OSError, match="none") if problem else Stages(io.StringIO(), {}),
        Stages(out, environment, **options) as stages,
    ):
        for what in ("the libraries", "the painter"):
            stages(what)
        if problem:
            raise problem
    return out.getvalue()


def test_each_stage_has_a_line_with_its_seconds():
    shown = told({"TERM": "xterm"})
    lines = [line.rpartition("\r\x1b[K")[2] for line in shown.rstrip("\n").split("\n")]
    assert [re.sub(r"\d\.\d", "0.0", line) for line in lines] == [
        "\x1b[2mloaded the libraries in 0.0 s\x1b[0m", "\x1b[2mloaded the painter in 0.0 s\x1b[0m"
    ]  # fmt: skip


def test_a_terminal_without_a_cursor_gets_plain_lines_and_a_program_nothing():
    assert told({"TERM": "dumb"}) == told({}) == "loading the libraries\nloading the painter\n"
    assert "\x1b[2m" not in told({"TERM": "xterm", "NO_COLOR": "1"})
    assert told({"TERM": "xterm"}, told=False) == ""


def test_a_stage_that_fails_leaves_its_line_to_the_error():
    assert told({"TERM": "xterm"}, OSError("none")).endswith("\r\x1b[K")
