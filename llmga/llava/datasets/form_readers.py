"""What the forms of records make of a record: turns of a question and its answer."""

import ast
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.datasets.turns import ROLES, plain_name

Read = Callable[[dict[str, Any]], dict[str, Any]]
LETTERS = "ABCDEFGHIJ"
CHOOSE = "Answer with the option's letter from the given choices directly."  # as LLaVA asks
LONGEST_PRINTED = 1 << 16  # characters of what Python printed into a cell
ABOUT = ("hint", "context", "passage")  # what a question of choices may have in front


def turn(role: str, said: Any) -> dict[str, Any]:
    """A turn of ours."""
    return {"from": role, "value": said}


def without(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The record without some of its keys."""
    return {key: value for key, value in record.items() if key not in keys}


def pair(question: str, answer: str, further: str = "") -> Read:
    """A reader of records with a question and an answer under these keys, and maybe a `history`.

    Args:
        further: a key whose text is another line of the question.
    """

    def read(record: dict[str, Any]) -> dict[str, Any]:
        asked, more = _said(record[question]), record.get(further)
        if more and isinstance(asked, str) and isinstance(more, str):
            asked = f"{asked}\n{more}" if asked.strip() else more
        told = [*_turns(record.get("history")), *_turns(asked, "human"), *_turns(_answer(record[answer]), "gpt")]
        return {**without(record, question, answer, further, "history"), "conversations": told}

    return read


def _turns(said: Any, role: str = "") -> list[Any]:
    """A text is one turn, a list of pairs two a pair, a list of turns itself."""
    if isinstance(said, list) and (said and not role or any(isinstance(one, dict) and "role" in one for one in said)):
        return [each for one in said for each in (_both(one) or [one])]
    return [turn(role, said)] if role else []


def _both(one: Any) -> list[dict[str, Any]]:
    """The two turns of a pair, written as a list or as an object of two speakers; none of what is no pair."""
    if isinstance(one, (list, tuple)) and len(one) == 2 and all(isinstance(said, str) for said in one):
        return [turn("human", one[0]), turn("gpt", one[1])]
    if not isinstance(one, dict):
        return []
    named = {ROLES[plain_name(key)]: said for key, said in one.items() if plain_name(key) in ROLES}
    return [turn("human", named["user"]), turn("gpt", named["assistant"])] if len(named) == 2 else []


def has_pairs(value: Any) -> bool:
    """Whether it is a list of pairs of two speakers."""
    return bool(value) and isinstance(value, list) and all(map(_both, value))


def pairs(key: str) -> Read:
    """A reader of lists of {user, assistant}, {human, assistant} or {question, answer}."""

    def read(record: dict[str, Any]) -> dict[str, Any]:
        return {**without(record, key), "conversations": [each for one in record[key] for each in _both(one)]}

    return read


def alternating(key: str) -> Read:
    """A reader of lists of texts, a question and its answer in turn."""

    def read(record: dict[str, Any]) -> dict[str, Any]:
        told = [turn(("human", "gpt")[number % 2], said) for number, said in enumerate(record[key])]
        return {**without(record, key), "conversations": told}

    return read


def renamed(key: str, ours: str) -> Read:
    """A reader that only gives a key our name."""
    return lambda record: {**without(record, key), ours: record[key]}


def chosen(record: dict[str, Any]) -> dict[str, Any]:
    """A question with its choices, a line each, answered by a letter; as it is, where no choice is the answer."""
    options = offered(record)
    letter = _letter(record["answer"], options)
    if letter is None:
        return record
    about = [record[key] for key in ABOUT if isinstance(record.get(key), str) and record[key].strip()]
    lines = [f"{name}. {said}" for name, said in zip(LETTERS, options, strict=False)]
    asked = "\n".join([*about, str(record["question"]), *lines, CHOOSE])
    rest = without(record, "question", "answer", "choices", "options", *ABOUT, *LETTERS)
    return {**rest, "conversations": [turn("human", asked), turn("gpt", letter)]}


def offered(record: dict[str, Any]) -> list[Any]:
    """The choices of a question: a list, or columns A, B, …"""
    listed = record.get("choices") or record.get("options")
    if isinstance(listed, list):
        return listed[: len(LETTERS)]
    columns = [record.get(letter) for letter in LETTERS]
    return columns[: columns.index(None)] if None in columns else columns


def _letter(answer: Any, options: Sequence[Any]) -> str | None:
    """A letter, a number from 0, or the words of a choice."""
    said = str(answer).strip()
    if (letter := said.upper().strip("(.)")) in [*LETTERS[: len(options)]]:
        return letter
    if isinstance(answer, str) and answer in options:
        return LETTERS[options.index(answer)]
    number = int(said) if said.isdecimal() and len(said) < 3 else len(options)
    return LETTERS[number] if number < len(options) else None


def _said(value: Any) -> Any:
    """Numbers are the texts that they look like."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _answer(value: Any) -> Any:
    """Of several people's answers the most frequent, the first of those."""
    if not isinstance(value, list) or not value or any(isinstance(one, dict) and "role" in one for one in value):
        return _said(value)
    each = [_said(one.get("answer") if isinstance(one, dict) else one) for one in value]
    return Counter(each).most_common(1)[0][0] if all(isinstance(one, str) for one in each) else value


def captioned(record: dict[str, Any]) -> dict[str, Any]:
    """A picture that is answered with its caption, as projectors are pretrained."""
    caption = record.get("caption")
    said = [turn("human", IMAGE_MARKER), turn("gpt", caption)]
    return {**without(record, "caption"), "conversations": said}


def decoded(value: Any) -> Any:
    """What a cell of a table holds as JSON, or as Python prints it; other texts stay."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    if len(value) > LONGEST_PRINTED:
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value
