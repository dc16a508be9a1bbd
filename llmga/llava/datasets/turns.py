"""The turns of a dialogue in a record, in the ShareGPT form or with role and content.

Example: `[{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day."}]`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from llmga.errors import UserError
from llmga.llava.conversation import Role
from llmga.llava.datasets.base import Record, UnusableRecord, said_type
from llmga.llava.datasets.left_out import MALFORMED, UNANSWERED

ROLES: dict[str, Role] = {  # who speaks, in small letters and without marks around it
    **dict.fromkeys(("human", "user", "prompter", "customer", "question"), "user"),
    **dict.fromkeys(("gpt", "assistant", "bing", "chatgpt", "bard", "claude", "model", "ai", "bot", "chatbot", "llm",
                     "answer"), "assistant"),
}  # fmt: skip
SYSTEM = ("system", "developer")
TOOLS = ("tool", "tool_call", "tool_response", "function", "function_call", "function_response", "observation",
         "ipython", "environment")  # fmt: skip
SPEAKERS = ("system", "human", "user", "gpt", "assistant")  # the usual ones, for a message
SPEAKER_KEYS, WORDS_KEYS = ("from", "role", "speaker"), ("value", "content", "text")


def speaker_of(turn: Record) -> Any:
    """What names the speaker in either spelling."""
    return next((turn[key] for key in SPEAKER_KEYS if turn.get(key) is not None), None)


def words_of(turn: Record) -> Any:
    """What is said in either spelling; a text, when `turn_fault` has no complaint."""
    return next((turn[key] for key in WORDS_KEYS if turn.get(key) is not None), None)


def plain_name(speaker: Any) -> str:
    """A speaker's name as the tables have it: `<|User|>` is user, `function-call` function_call."""
    return _plain(speaker) if isinstance(speaker, str) else ""


@lru_cache(256)
def _plain(name: str) -> str:
    return name.strip(" <|>:").casefold().replace("-", "_")


def role_of(turn: Record) -> Role | Literal["system"] | None:
    """Who speaks, whatever the spelling; None for others."""
    name = plain_name(speaker_of(turn))
    return "system" if name in SYSTEM else ROLES.get(name)


def turn_fault(turn: Any) -> str:
    """Why a turn cannot be read, in words that follow "turn 3"; "" when it can."""
    if not isinstance(turn, dict):
        return f"is {said_type(turn)}, but must be an object of a speaker and a text"
    if role_of(turn) is None:
        if plain_name(speaker := speaker_of(turn)) in TOOLS:
            return f"is of {speaker!r}, a tool, which the model never speaks with; leave such dialogues out"
        return f"is of {speaker!r}, but must be of one of {', '.join(SPEAKERS)}"
    said = words_of(turn)
    if said is None:
        return "has no text"
    if isinstance(said, list):
        return f"has a part {_strange_part(said)!r} that is neither text nor picture"
    if not isinstance(said, str):
        return f"has {said_type(said)} for a text, {said!r}; put it in quotes"
    return ""


def _strange_part(parts: list[Any]) -> Any:
    """The kind of the part that kept a layout from reading all of them."""
    kinds = [part.get("type", list(part)) if isinstance(part, dict) else part for part in parts]
    return next((kind for kind in kinds if kind not in ("text", "image", "image_url")), kinds[:1])


def turns(messages: Sequence[Any]) -> tuple[str | None, list[tuple[Role, str]]]:
    """The system text, and (role, text) in strict alternation, from a user's turn to an assistant's.

    Neighbours of the same role are joined, and so are system texts; an answer before any question and a question after
    the last answer teach nothing and are left out.

    Raises:
        UnusableRecord: for a turn that cannot be read, an answer without words, or when nothing is left.
    """
    system: str | None = None
    said: list[tuple[Role, str]] = []
    for number, message in enumerate(messages):
        if fault := turn_fault(message):
            raise UnusableRecord(MALFORMED) from UserError(f"turn {number} {fault}")
        role, text = role_of(message), words_of(message)
        if role == "system":
            system = text if system is None else f"{system}\n{text}"
        elif said and said[-1][0] == role:
            said[-1] = (said[-1][0], f"{said[-1][1]}\n{text}")
        elif role is not None and (said or role == "user"):
            said.append((role, text))
    if said and said[-1][0] == "user":
        said.pop()
    if not said:
        raise UnusableRecord(MALFORMED) from UserError("it is a conversation without an answer to a question")
    if any(role == "assistant" and not text.strip() for role, text in said):
        raise UnusableRecord(UNANSWERED) from UserError("an answer has no words")
    return system, said


def picture_names(record: Record) -> list[Any]:
    """What stands under `image`, as a list."""
    named = record.get("image") or []
    return list(named) if isinstance(named, (list, tuple)) else [named]
