"""Typing in a terminal: editing, history over sessions, pasted lines as one message, completion with the tab key."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from llmga.serve.terminal.asking import ASKS, Dropped
from llmga.serve.terminal.completing import Candidate

LONGEST_HISTORY = 1000  # messages

Candidates = Callable[[str], Iterable[Candidate]]


def state_folder() -> Path:
    """Where what outlives a session is kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "llmga"


def history_file() -> Path:
    """Where the messages of earlier sessions are kept."""
    return state_folder() / "chat-history"


class _History(FileHistory):
    """A disk that takes nothing costs the history only."""

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)

    def load_history_strings(self) -> Iterable[str]:
        """The latest messages, newest first; the file is cut to these where it has become long."""
        with suppress(OSError, UnicodeError):
            found = list(super().load_history_strings())
            if len(found) > 2 * LONGEST_HISTORY:
                os.unlink(self.filename)
                for message in reversed(found[:LONGEST_HISTORY]):
                    self.store_string(message)
            return found[:LONGEST_HISTORY]
        return []


def open_history() -> History:
    """The messages of earlier sessions, readable by nobody else; of this one alone where the disk takes none."""
    file = history_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return _History(str(file))


class _Tab(Completer):
    def __init__(self, candidates: Candidates):
        self._candidates = candidates

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        for each in self._candidates(before):
            yield Completion(each.text, -each.replaces, display=each.shown, display_meta=each.help)


def keys() -> KeyBindings:
    """Esc and Enter begin a new line; Ctrl-C drops what was typed, and the up arrow brings it back."""
    bindings = KeyBindings()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c")
    @bindings.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.append_to_history()
        stood = event.current_buffer.text.strip()
        event.app.exit(exception=Dropped if stood else KeyboardInterrupt, style="class:aborting")

    return bindings


def line_editor(candidates: Candidates) -> Callable[[str], str]:
    """What asks for a message: `editor(draft)` begins with a draft.

    It raises EOFError for Ctrl-D at an empty line, KeyboardInterrupt for Ctrl-C.

    Args:
        candidates: what the words before the cursor may become.
    """
    session: PromptSession[Any] = PromptSession(
        [("ansicyan bold", ASKS)],
        history=open_history(),
        completer=_Tab(candidates),
        complete_while_typing=False,
        key_bindings=keys(),
        prompt_continuation=" " * len(ASKS),
        enable_suspend=True,
    )
    return lambda draft: str(session.prompt(default=draft))
