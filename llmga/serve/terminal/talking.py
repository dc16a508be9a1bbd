"""Asks and answers, until the person has had enough."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from llmga.serve.terminal.asking import ASKS, ask
from llmga.serve.terminal.commands import TerminalChat
from llmga.serve.terminal.drawing import ctrl_c
from llmga.serve.terminal.farewell import farewell

BEGIN = "Say what you want to see; /image FILE brings a picture, /help lists the commands, an empty line ends."


def converse(chat: TerminalChat, first: str | None = None, keys: "Keys | None" = None) -> None:
    """Ask and answer until the person ends it.

    Args:
        first: the first message, if it is known.
        keys: of a person at a terminal; None reads the standard input.
    """
    keys = keys or Keys()
    interrupted = False

    def note() -> None:  # between an answer and the next question
        nonlocal interrupted
        interrupted = True

    with ctrl_c(note):
        if first is not None:
            print(f"{ASKS}{first}")
            keys.answer(chat, first)
        while not chat.over:
            pressed, interrupted = interrupted, False
            if (line := keys.ask(pressed)) is None:
                break
            keys.answer(chat, line)


class Keys:
    """A standard input that is read line by line."""

    def ask(self, interrupted: bool) -> str | None:
        """The next message, as `llmga.serve.terminal.asking.ask`."""
        with ctrl_c(_interrupt):
            return ask(interrupted=interrupted and sys.stdin.isatty())

    def answer(self, chat: TerminalChat, line: str) -> None:
        """Do what a line says."""
        chat.handle(line)


class EditedKeys(Keys):
    """A person who types at a terminal: lines are edited, and what is typed during an answer waits for its end."""

    def __init__(self, chat: TerminalChat):
        from llmga.serve.terminal.completing import candidates
        from llmga.serve.terminal.keyboard import Keyboard
        from llmga.serve.terminal.line_editing import line_editor

        self._editor: Callable[[str], str] = line_editor(lambda line: candidates(chat, line))
        self._keyboard = Keyboard(sys.stdin.fileno(), marks=os.environ.get("TERM", "dumb") not in ("dumb", ""))

    def quiet(self) -> AbstractContextManager[None]:
        """As `Keyboard.quiet`."""
        return self._keyboard.quiet()

    def ask(self, interrupted: bool) -> str | None:
        """The next message; one that was ended with the return key during the answer is taken at once."""
        typed, ended = self._keyboard.line()
        if ended and typed.strip():
            print(f"{ASKS}{typed.strip()}")
            return typed.strip()
        drafts = [typed.strip()]
        return ask(lambda: self._editor(drafts.pop() if drafts else ""), interrupted=interrupted, breaks=False)

    def answer(self, chat: TerminalChat, line: str) -> None:
        """Do what a line says, and leave a line free."""
        self._keyboard.unasked()
        chat.handle(line)
        print()


def _interrupt() -> None:
    raise KeyboardInterrupt


def talk(chat: TerminalChat, first: str | None = None, *, person: bool, keeps: bool = True) -> int | None:
    """Talk to a person at a terminal, or with what a pipe says.

    Args:
        person: at a terminal, who is told how to begin and at the end what was made.
        keeps: what nobody asked to save is kept all the same, where there is a person to lose it.

    Returns:
        1 where something failed that no person has seen.
    """
    if not person:
        converse(chat, first)
        return 1 if chat.terminal.failures and not sys.stdin.isatty() else None
    if keeps and chat.session is None:
        from llmga.serve.terminal.conversations import new_place

        chat.kept = new_place()
    chat.terminal.info(BEGIN)
    keys = EditedKeys(chat)
    with keys.quiet():
        converse(chat, first, keys)
    with ctrl_c(lambda: None):
        farewell(chat)
    return None
