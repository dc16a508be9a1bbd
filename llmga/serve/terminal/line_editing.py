"""Typing in a terminal: editing and history by the system's readline, and commands completed with the tab key."""

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import Any

LONGEST_HISTORY = 1000  # lines


def history_file() -> Path:
    """Where the lines of earlier sessions are kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "llmga" / "history"


@contextmanager
def line_editing(commands: Iterable[str]) -> Iterator[None]:
    """While the body runs, `input` edits, remembers and completes; nothing changes where there is no readline.

    Args:
        commands: words that begin a line, such as "/image".
    """
    try:
        readline = importlib.import_module("readline")
    except ImportError:  # Windows
        yield
        return
    _complete_with(readline, tuple(commands))
    file = history_file()
    with suppress(OSError):
        readline.read_history_file(file)
    try:
        yield
    finally:
        readline.set_history_length(LONGEST_HISTORY)
        with suppress(OSError):  # a full or read-only disk should not be the last that one hears
            file.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(file)


def _complete_with(readline: Any, commands: tuple[str, ...]) -> None:
    def complete(text: str, number: int) -> str | None:
        found = completions(readline.get_line_buffer(), text, commands)
        return found[number] if number < len(found) else None

    readline.set_completer_delims(" \t\n")
    readline.set_completer(complete)
    bind = "bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete"
    readline.parse_and_bind(bind)


def completions(line: str, text: str, commands: Iterable[str]) -> list[str]:
    """What the word under the cursor may become: a command at the start of a line, a file behind a command."""
    if not line.startswith("/"):
        return []
    if line == text:
        return [f"{command} " for command in commands if command.startswith(text)]
    paths = glob(os.path.expanduser(text) + "*")
    return sorted(path + os.sep if os.path.isdir(path) else f"{path} " for path in paths)
