"""What the buttons in the conversation do, those that lead to an answer: a row each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmga.errors import UserError
from llmga.serve.page.controls import Chosen
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.user_session import AnswerSteps, UserSession


@dataclass(frozen=True)
class Pressed:
    """A button that was pressed, as `log.js` reports it.

    Attributes:
        verb: what it does.
        number: of the picture or the message that it stands at; -1 for none.
        address: of the prompt that it stands at, "exchange.prompt".
        text: what stands in the text box at it.
    """

    verb: str
    number: int = -1
    address: str = ""
    text: str = ""

    @classmethod
    def read(cls, report: Any) -> "Pressed":
        """What a report of the browser, which may be anything, states."""
        given = report if isinstance(report, dict) else {}
        number = given.get("number")
        whole = number if isinstance(number, int) and not isinstance(number, bool) else -1
        return cls(str(given.get("verb")), whole, str(given.get("address", "")), str(given.get("text", "")))


_VERBS: dict[str, Callable[[UserSession, Pressed, Chosen, EditorValue], AnswerSteps]] = {
    "say": lambda session, pressed, chosen, drawn: session.say(pressed.text, (), chosen, drawn),
    "similar": lambda session, pressed, chosen, drawn: session.similar(pressed.number, chosen),
    "paint": lambda session, pressed, chosen, drawn: session.paint(pressed.address, pressed.text, chosen),
    "retry": lambda session, pressed, chosen, drawn: session.retry(chosen),
    "edit": lambda session, pressed, chosen, drawn: session.edit(pressed.number, pressed.text, chosen),
}


def answer_to(session: UserSession, pressed: Pressed, chosen: Chosen, drawn: EditorValue) -> AnswerSteps:
    """The answer that a button asks for.

    Raises:
        UserError: the page's own script would never send it.
    """
    if pressed.verb not in _VERBS:
        raise UserError(f"{pressed.verb!r} is nothing that can be done here; reload the page.")
    return _VERBS[pressed.verb](session, pressed, chosen, drawn)
