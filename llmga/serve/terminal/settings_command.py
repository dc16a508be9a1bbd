"""Settings changed by name in a running session: `/set steps 20`."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from llmga.assistant.assistant import Assistant
from llmga.assistant.painting import restorer_of, upscaler_of
from llmga.assistant.session import Settings
from llmga.choices import RATIO, SKIP
from llmga.diffusers.canvas import FILLS
from llmga.diffusers.inpainting import AREAS
from llmga.errors import UserError
from llmga.registry import Registry
from llmga.serve import args as flags

DEFAULT = "default"  # the word that gives a setting back
EDITING = {"skip": SKIP, "ratio": RATIO}


class _Reader(flags.Parser):
    """A command line of one flag."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument --").rstrip(".") + ".")


def _reader() -> _Reader:
    """The flags of the command lines, which read and bound each value."""
    reader = _Reader(prog="/set", add_help=False)
    for group in (flags.add_models, flags.add_words, flags.add_painting, flags.add_painter, flags.add_region):
        group(reader)
    flags.add_editing(reader)
    reader.needed.clear()
    return reader


@dataclass(frozen=True)
class Change:
    """A row of the table of settings.

    Attributes:
        shown: the value in use.
        apply: (assistant, value); None is `default`.
        flag: which flag reads the value; None reads on and off.
    """

    shown: Callable[[Assistant], Any]
    apply: Callable[[Assistant, Any], None]
    flag: str | None


def _plain(name: str) -> Change:
    """A field of `Settings`."""
    usual = getattr(Settings(), name)

    def apply(assistant: Assistant, value: Any) -> None:
        chosen = replace(assistant.settings, **{name: usual if value is None else value})
        _check(assistant, chosen)
        assistant.settings = chosen

    return Change(lambda assistant: getattr(assistant.settings, name), apply, name.replace("_", "-"))


def _check(assistant: Assistant, chosen: Settings) -> None:
    """Raises: UserError when the next answer could not be given."""
    if chosen.restorer is not None:
        restorer_of(chosen.restorer, assistant.restorer)
    upscaler_of(chosen.upscale, assistant.upscaler)
    before = assistant.settings
    assistant.settings = chosen
    try:
        assistant.check()
    finally:
        assistant.settings = before


def _part(field: str, name: str, flag: str | None, table: Mapping[str, Any] | None = None) -> Change:
    """An entry of `Settings.repaint` or `Settings.edit`."""

    def shown(assistant: Assistant) -> Any:
        return (getattr(assistant.settings, field) or {}).get(name)

    def apply(assistant: Assistant, value: Any) -> None:
        if table is not None and value is not None:
            table[value]
        known = getattr(assistant.settings, field)
        if known is None:
            raise UserError(f"{name} is for changing pictures by words; /set edit on first.")
        usual = EDITING if field == "edit" else {}
        kept = {key: entry for key, entry in known.items() if key != name}
        given = {name: value} if value is not None else {key: usual[key] for key in usual if key == name}
        assistant.settings = replace(assistant.settings, **{field: kept | given})

    return Change(shown, apply, flag)


def _edits(assistant: Assistant, on: bool | None) -> None:
    assistant.settings = replace(assistant.settings, edit=dict(EDITING) if on else None)


_FIELDS = ("temperature", "top_p", "max_new_tokens", "picture", "steps", "guidance_scale", "negative_prompt", "size")
CHANGES = Registry("setting", {
    **{name.replace("_", "-"): _plain(name) for name in (*_FIELDS, "restorer", "upscale", "sampler")},
    "strength": _part("repaint", "strength", "strength"),
    "area": _part("repaint", "area", "area", AREAS),
    "soft-mask": _part("repaint", "soft", None),
    "edit": Change(lambda assistant: assistant.settings.edit is not None, _edits, None),
    "skip": _part("edit", "skip", "skip"),
    "ratio": _part("edit", "ratio", "ratio"),
})  # fmt: skip


def change(assistant: Assistant, name: str, text: str) -> None:
    """Set one setting from what a person typed.  Raises: UserError."""
    row = CHANGES[name.lower().replace("_", "-")]
    row.apply(assistant, None if text == DEFAULT else _read(row.flag, text))


def _read(flag: str | None, text: str) -> Any:
    if flag is None:
        if text not in ("on", "off"):
            raise UserError(f"{text!r} is neither on nor off; use one of them, or {DEFAULT}.")
        return text == "on"
    found: Namespace = _reader().parse_args([f"--{flag}={text}"])
    return getattr(found, flag.replace("-", "_"))


def told(assistant: Assistant) -> str:
    """Every setting with its value, one a line."""
    rows = ((name, row.shown(assistant)) for name, row in CHANGES.items())
    return "\n".join(f"{name} {_told(value)}" for name, value in rows)


def _told(value: Any) -> str:
    if value is None or value == {}:
        return DEFAULT
    if isinstance(value, bool):
        return "on" if value else "off"
    return "{}x{}".format(*value) if isinstance(value, tuple) else str(value)


def checked_fill(name: str) -> str:
    """A row of `FILLS`.  Raises: UserError."""
    FILLS[name]
    return name
