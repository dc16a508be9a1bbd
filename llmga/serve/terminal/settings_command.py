"""Settings changed by name in a running session: `/set steps 20`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from llmga.assistant.assistant import Assistant
from llmga.assistant.in_force import in_force
from llmga.assistant.painting import restorer_of, upscaler_of
from llmga.assistant.settings import SETTINGS, Changes, Setting, Settings, usual_edits
from llmga.command_line import Parser
from llmga.diffusers.control import Control, controls_text
from llmga.errors import UserError
from llmga.registry import Registry
from llmga.serve.args import add_setting, explained

DEFAULT = "default"  # the word that gives a setting back
EDIT = Setting("editing", "pictures are changed by words", name="edit", kind=bool, default=False)
CHANGES = Registry("setting", {row.command: row for row in SETTINGS.values() if row.command} | {"edit": EDIT})
SETTABLE = Registry("setting", {**CHANGES, "fill": SETTINGS["fill"]})  # the fill is the turn's, not the assistant's


def change(assistant: Assistant, name: str, text: str) -> None:
    """Set one setting from what a person typed.

    Raises:
        UserError: there is no such setting or value, or no answer could be given so.
    """
    row = CHANGES[name.lower().replace("_", "-")]
    chosen = changed(assistant.settings, row, None if text == DEFAULT else read(row, text))
    _check(assistant, chosen)
    assistant.settings = chosen


def set_controls(assistant: Assistant, controls: Sequence[Control] | None) -> None:
    """Set what guides pictures.

    Args:
        controls: each with its picture; None leaves it to how the pipeline was set up.

    Raises:
        UserError: the pipeline cannot be guided so.
    """
    text, images = (None, ()) if controls is None else (controls_text(controls), tuple(each.image for each in controls))
    chosen = replace(assistant.settings, control=text, control_images=images)
    _check(assistant, chosen)
    assistant.settings = chosen


def read(row: Setting, text: str) -> Any:
    """The value that a person typed, as a flag reads and bounds it.

    Raises:
        UserError: it is no value of the setting.
    """
    if row.kind is bool:
        if text not in ("on", "off"):
            raise UserError(f"{text!r} is neither on nor off; use one of them, or {DEFAULT}.")
        return text == "on"
    reader = _SettingParser(prog="/set", add_help=False)
    add_setting(reader, replace(row, flag=row.command))
    (value,) = vars(reader.parse_args([f"--{row.command}={text}"])).values()
    return row.checked(value) if row.names and row.part_of else value


def changed(chosen: Settings, row: Setting, value: Any) -> Settings:
    """The settings with another value of a row, None being its default.

    Raises:
        UserError: the setting is for changing pictures by words, which is off.
    """
    if row is EDIT:
        return replace(chosen, edit=usual_edits() if value else None)
    if row.name == "control":  # pictures that were given are those of the controls before
        chosen = replace(chosen, control_images=())
    if not row.part_of:
        return _with(chosen, row.name, row.default if value is None else value)
    known: Changes | None = getattr(chosen, row.part_of)
    if known is None:
        raise UserError(f"{row.name} is for changing pictures by words; /set edit on first.")
    kept = {name: entry for name, entry in known.items() if name != row.name}
    if value is None and row.part_of == "edit":
        return _with(chosen, row.part_of, kept | {row.name: row.default})
    return _with(chosen, row.part_of, kept if value is None else kept | {row.name: value})


def _with(chosen: Settings, name: str, value: Any) -> Settings:
    changed: dict[str, Any] = {name: value}
    return replace(chosen, **changed)


def describe(assistant: Assistant) -> Iterator[tuple[str, str]]:
    """Every setting with the value in force; of one that nobody chose, that it is the default."""
    return ((name, described(assistant, row)) for name, row in CHANGES.items())


def described(assistant: Assistant, row: Setting) -> str:
    """The value in force of one setting."""
    value, chosen = (assistant.settings.edit is not None,) * 2 if row is EDIT else in_force(assistant, row)
    return _written(value) + ("" if chosen else f" ({DEFAULT})")


def offer(row: Setting) -> str:
    """What a setting is about and what it may be, as `--help` has it."""
    return f"{explained(row)}; on or off" if row.kind is bool else explained(row)


def _written(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "{}x{}".format(*value) if isinstance(value, tuple) else str(value)


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


class _SettingParser(Parser):
    """A command line of one flag."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument --").rstrip(".") + ".")
