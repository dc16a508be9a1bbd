"""Typing: history over sessions, commands and files completed."""

import contextlib
import os
import pty
import sys

import pytest

from llmga.serve.terminal.commands import COMMANDS
from llmga.serve.terminal.line_editing import completions, history_file, line_editing

readline = pytest.importorskip("readline")


def test_commands_are_completed_at_the_start_of_a_line_only():
    assert completions("/im", "/im", COMMANDS) == ["/image "]
    assert completions("/re", "/re", COMMANDS) == ["/retry ", "/repaint ", "/repair "]
    assert completions("a red /im", "/im", COMMANDS) == [] and completions("im", "im", COMMANDS) == []


def test_files_are_completed_behind_a_command(tmp_path):
    (tmp_path / "photo.jpg").touch(), (tmp_path / "photos").mkdir()
    start = str(tmp_path / "ph")
    assert completions(f"/image {start}", start, COMMANDS) == [f"{start}oto.jpg ", f"{start}otos{os.sep}"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_lines_of_an_earlier_session_come_back_with_the_arrow_key(tmp_path):
    """In a process of its own at a pseudo-terminal, as a person sits there."""
    program = (
        "from llmga.serve.terminal.line_editing import line_editing\n"
        "with line_editing(['/image']):\n"
        "    print('got ' + repr(input('? ')), flush=True)"
    )
    answers = []
    for keys in (b"a red circle\n", b"\x1b[A\x01b \n", b"/im\t x\n"):
        process, terminal = pty.fork()
        if process == 0:
            os.environ.update(XDG_STATE_HOME=str(tmp_path), TERM="xterm", PYTHONPATH=os.pathsep.join(sys.path))
            os.execv(sys.executable, [sys.executable, "-c", program])
        answers.append(_talk(terminal, keys))
        os.waitpid(process, 0)
    assert answers == ["a red circle", "b a red circle", "/image  x"]
    assert (tmp_path / "llmga" / "history").exists()


def _talk(terminal, keys):
    """Type, and read until the process is at its end: who hangs up earlier kills it before it keeps its history."""
    seen = b""
    while b"? " not in seen:
        seen += os.read(terminal, 1024)
    os.write(terminal, keys)
    with contextlib.suppress(OSError):  # Linux tells the end so
        while more := os.read(terminal, 1024):
            seen += more
    os.close(terminal)
    return seen.split(b"got '")[1].split(b"'")[0].decode()


def test_a_disk_that_takes_no_history_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with line_editing(COMMANDS):
        assert history_file().is_relative_to(tmp_path)
