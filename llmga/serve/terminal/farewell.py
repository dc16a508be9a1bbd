"""What a person is told at the end: what was made, and where it is."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmga.assistant.session_file import INDEX
from llmga.serve.terminal.commands import TerminalChat

MOST_NAMED = 6  # pictures


def farewell(chat: TerminalChat) -> None:
    """Say where the pictures and the conversation are; nothing where there are none."""
    if lines := list(_lines(chat)):
        chat.terminal.info("\n".join(lines))


def _lines(chat: TerminalChat) -> Iterator[str]:
    if paths := chat.terminal.pictures.paths:
        yield f"{_counted(len(paths))} in {chat.terminal.pictures.folder}: {_named(paths)}."
    place = chat.session or chat.kept
    if chat.assistant.exchanges and place is not None and (place.is_file() or (place / INDEX).is_file()):
        yield f"to go on with this conversation: llmga chat --session {shlex.quote(str(place))}"


def _counted(count: int) -> str:
    return "1 picture is" if count == 1 else f"{count} pictures are"


def _named(paths: Sequence[Path]) -> str:
    names = [path.name for path in paths]
    return ", ".join(names) if len(names) <= MOST_NAMED else f"{names[0]} to {names[-1]}"
