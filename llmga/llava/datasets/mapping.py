"""`--map question=query,answer=response`: other names of keys, for records that no form knows."""

from typing import Any

from llmga.errors import UserError

KNOWN = (
    *("image", "caption", "conversations", "messages", "system", "question", "answer", "query", "response", "history"),
    *("instruction", "input", "output", "prompt", "completion", "choices", "ori_caption", "new_caption"),
)


def renaming(text: str) -> dict[str, str]:
    """Our names and those of the file, read from `ours=theirs,…`.

    Raises:
        UserError: for a text of another form, and a name that is none of ours.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not equals or not name.strip() or not other.strip() for name, equals, other in pairs):
        raise UserError(f"--map {text!r} must look like question=query,answer=response: our key, =, that of the file.")
    named = {name.strip(): other.strip() for name, _, other in pairs}
    if unknown := next((name for name in named if name not in KNOWN), None):
        raise UserError(f"--map names {unknown!r}, which is no key of ours; use one of {', '.join(KNOWN)}.")
    return named


def renamed(record: dict[str, Any], named: dict[str, str]) -> dict[str, Any]:
    """The record with the keys that are given other names; `a.b` is the key b of the object a."""
    found = {name: value for name, other in named.items() if (value := _at(record, other)) is not None}
    if not found:
        return record
    taken = {named[name] for name in found} - found.keys()
    return {**{key: value for key, value in record.items() if key not in taken}, **found}


def _at(record: dict[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    value: Any = record
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
