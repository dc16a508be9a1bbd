"""What the tab key offers: commands, and what may follow each of them."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmga.choices import CONTROLS
from llmga.diffusers.control import OFF
from llmga.registry import registered
from llmga.serve.terminal.settings_command import DEFAULT, SETTABLE

if TYPE_CHECKING:
    from llmga.serve.terminal.commands import TerminalChat


@dataclass(frozen=True)
class Candidate:
    """What the end of a line may become.

    Attributes:
        text: stands in place of the end.
        replaces: how many letters that end has.
        shown: in the list.
        help: beside it.
    """

    text: str
    replaces: int
    shown: str
    help: str = ""


def starting(typed: str, rows: Iterable[tuple[str, str]], after: str = " ") -> Iterator[Candidate]:
    """Those (name, help) that begin as it was typed."""
    for name, help in rows:
        if name.startswith(typed):
            yield Candidate(name + after, len(typed), name, help)


def nothing(chat: "TerminalChat", typed: str) -> Iterator[Candidate]:
    """Of a command that nothing follows, or any words."""
    return iter(())


def files(chat: "TerminalChat", typed: str) -> Iterator[Candidate]:
    """Files and folders; hidden ones where a point was typed."""
    folder, name = os.path.split(typed)
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            ending = os.sep if entry.is_dir() else ""
            yield Candidate(entry.name + ending, len(name), entry.name + ending)


def settings(chat: "TerminalChat", typed: str) -> Iterator[Candidate]:
    """Names of settings, and behind one its values."""
    name, blank, value = typed.partition(" ")
    if not blank:
        yield from starting(name, ((each, row.help) for each, row in SETTABLE.items()))
    elif name in SETTABLE:
        row = SETTABLE[name]
        values = ("on", "off") if row.kind is bool else map(str, row.known)
        default = () if name == "fill" else ((DEFAULT, "give it back"),)
        yield from starting(value, [*((each, "") for each in values), *default], after="")


def controls(chat: "TerminalChat", typed: str) -> Iterator[Candidate]:
    """What is taken from a picture, and behind it the picture."""
    *before, last = typed.split(" ")
    if before:
        yield from files(chat, last)
    else:
        names = ((name, "") for name in (*CONTROLS, *registered("control")))
        yield from starting(last, [*names, (OFF, "nothing guides"), (DEFAULT, "as at the start")])


def turns(chat: "TerminalChat", typed: str) -> Iterator[Candidate]:
    """Numbers of messages, and behind one what it said."""
    exchanges = chat.assistant.exchanges
    number, blank, words = typed.partition(" ")
    if not blank:
        yield from starting(number, ((str(n), each.turn.text) for n, each in enumerate(exchanges)))
    elif not words and number.isdecimal() and int(number) < len(exchanges):
        yield Candidate(exchanges[int(number)].turn.text, 0, "what it said")


def candidates(chat: "TerminalChat", line: str) -> Iterator[Candidate]:
    """What the end of a line may become: a command at its beginning, and what the row of a command offers behind it."""
    from llmga.serve.terminal.commands import COMMANDS

    if not line.startswith("/"):
        return
    name, blank, typed = line.partition(" ")
    if not blank:
        yield from starting(name, ((each, row.help) for each, row in COMMANDS.items()))
    elif name in COMMANDS:
        yield from COMMANDS[name].completes(chat, typed)
