"""How a person is told what went wrong, or that something was done: one sentence over the page, in its language."""

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import gradio as gr

from llmga.errors import UserError
from llmga.serve.page.strings import STRINGS
from llmga.serve.page.user_session import UserSession

Updates = dict[Any, Any]  # component -> its new value, or what of it is new
KINDS = ("warning", "info", "error")  # of what gradio tells

log: logging.Logger = logging.getLogger(__name__)


class Ended(Exception):
    """The session of a page is over: nothing can be done for somebody who has left."""


def titles() -> str:
    """The titles of what is told, in the language of the page, as CSS: gradio takes none for them and says its own."""
    hidden = ".toast-title { font-size: 0 !important; } .toast-title::after { font-size: var(--text-md); }"
    said = (
        f'html[lang="{code}"] .toast-title.{kind}::after {{ content: "{strings[f"told {kind}"]}"; }}'
        for code, strings in STRINGS.items()
        for kind in KINDS
    )
    return "\n".join([hidden, *said])


@contextmanager
def problems_shown(session: UserSession | None) -> Iterator[None]:
    """What goes wrong in the body is shown as one sentence; of a defect only a number that the server's log has."""
    strings = STRINGS["en"] if session is None else session.strings
    try:
        yield
    except UserError as problem:
        gr.Warning(str(problem))
    except Ended:
        gr.Warning(strings["gone"])
    except Exception:
        number = secrets.token_hex(4)
        log.exception("report %s", number)
        gr.Warning(strings["defect"].format(number))


def guarded(handler: Callable[..., Updates]) -> Callable[..., Updates]:
    """The handler, of which problems are shown; nothing on the page changes then."""

    @wraps(handler)
    def shown(self: Any, session: UserSession | None, *values: Any) -> Updates:
        with problems_shown(session):
            return handler(self, self.present(session), *values)
        return {self.page.log: gr.skip()}  # of a handler that gives nothing at all gradio makes nulls

    return shown
