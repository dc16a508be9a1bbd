"""A training's settings: typed, explained at the field, checked at once, saved with the run.

A configuration is a frozen dataclass whose fields are made by `setting`; presets are named instances of it in a
`Registry`.  Flags, help text and checks derive from the fields, so that nothing is said twice::

    @dataclass(frozen=True)
    class Config:
        steps: int = setting(100, help="optimiser steps", minimum=1)
        size: tuple[int, int] = setting((64, 64), help="width and height in pixels")

    PRESETS = Registry("preset", {"toy": Config(), "long": Config(steps=9000)})
    config = parse_arguments(PRESETS, ["--preset", "long", "--size", "96,64"])
    config = parse_arguments(PRESETS, ["--config", "run/training_config.json", "--steps", "5"])
"""

import argparse
import difflib
import json
import math
import platform
import re
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, field, fields, is_dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from llmga.command_line import Parser, quiet_libraries
from llmga.errors import UserError, command_line, reason
from llmga.registry import Registry
from llmga.training.foreign_flags import NONE, ForeignFlags

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
FILE_NAME = "training_config.json"  # not config.json: that is the model's own file in the same folder
LIBRARIES = ("torch", "transformers", "diffusers", "accelerate", "deepspeed", "peft", "tokenizers", "numpy", "pillow")
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def setting(
    default: Any = MISSING,
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    beside: str | None = None,
    instead: Mapping[str, str] | None = None,
) -> Any:
    """A field of a configuration.  Limits are inclusive and hold for each number of a tuple.

    A folder `beside` another one moves with it: what a preset says of it holds only with the preset's own other one.

    `instead` says for words that are none of a field's what is given for them: `{"dora": "--tune lora --dora true"}`.

    A field of type `Literal[...]` takes one of the listed words, `X | None` takes "none", `tuple[X, ...]` several
    values, and a dataclass inside a tuple is read by its own `parse(text)` class method.
    """
    return field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum, "beside": beside,
                                            "instead": instead or {}})  # fmt: skip


def parse_arguments(
    presets: Registry[Config], argv: Sequence[str] | None = None, foreign: ForeignFlags = NONE
) -> Config:
    """The preset that `--preset` names, changed by the file of `--config` and then by every flag of a field, checked.

    Args:
        presets: the named settings to start from.
        argv: the words of the command line; None takes those of the process.
        foreign: the flags of other trainers that are read, too.

    Raises:
        UserError: an unknown preset, a file that cannot be read, or a value of the wrong type or range.
        SystemExit: an unknown flag (2, after one sentence), --help, or --print-config (0).
    """
    kind = type(next(iter(presets.values())))
    hints = get_type_hints(kind)
    words = foreign.translated(sys.argv[1:] if argv is None else argv)
    given = vars(_parser(presets, kind, hints, foreign).parse_args(words))
    preset, file, shown = (given.pop(name) for name in ("preset", "config", "print_config"))
    base = _base(presets, hints, preset, file)
    config = _changed(base, {name: _read(name, hints[name], text) for name, text in given.items()})
    try:
        check(config)
    except UserError as problem:
        source = f"--config {file}" if file else f"--preset {preset}"
        raise UserError(f"{problem}{_not_given(str(problem), config, given, source)}") from None
    if shown:
        print(json.dumps(asdict(config), indent=2))
        raise SystemExit(0)
    return config


def _base(presets: Registry[Config], hints: dict[str, Any], preset: str | None, file: str | None) -> Config:
    """What flags change: a preset, a file of settings, or a preset changed by a file."""
    said = _read_file(file) if file else {}
    own = said.pop("preset", None)
    preset = own if preset is None else preset
    kind = type(next(iter(presets.values())))
    if unknown := [name for name in said if name not in hints]:
        near = difflib.get_close_matches(unknown[0], hints, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "--help lists the settings."
        raise UserError(f"--config {file!r} has an unknown setting {unknown[0]!r}; {remedy}")
    values = {name: _converted(name, hints[name], value) for name, value in said.items()}
    if preset is not None:
        return _changed(presets[preset], values)
    if not file:
        raise UserError(f"--preset is missing; give one of: {', '.join(presets)}, or --config FILE.")
    if lacking := [one.name for one in fields(kind) if one.default is MISSING and one.name not in values]:
        raise UserError(f"--config {file!r} lacks {', '.join(lacking)}; add them, or give --preset.")
    return kind(**values)


def _read_file(path: str) -> dict[str, Any]:
    """The settings in a JSON or YAML file, such as `training_config.json`, by their names in underscores."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        if Path(path).suffix in (".yaml", ".yml"):
            import yaml

            content = yaml.safe_load(text)
        else:
            content = json.loads(text)
    except OSError as problem:
        raise UserError(f"--config {path!r} cannot be read ({problem.strerror}); check the path.") from None
    except Exception as problem:  # whatever a parser of either kind stumbles over
        raise UserError(f"--config {path!r} is no JSON or YAML: {reason(problem)}.") from None
    settings = content.get("settings", content) if isinstance(content, dict) else None
    if not isinstance(settings, dict):
        raise UserError(f"--config {path!r} must hold one object of settings, as --print-config shows it.")
    return {str(name).replace("-", "_"): value for name, value in settings.items()}


def _converted(name: str, hint: Any, value: Any) -> Any:
    """A value of a file as a field has it; its words are read as those of a command line are."""
    inner = _not_none(hint)
    if get_origin(inner) is not tuple:
        return _read(name, hint, value) if isinstance(value, str) else value
    several = value if isinstance(value, list) else [value]
    if value is None or value == "none":
        return None
    return tuple(_part(name, get_args(inner)[0], one) for one in several)


def _part(name: str, kind: Any, value: Any) -> Any:
    if isinstance(value, str):
        return _read_one(name, kind, value)
    if not isinstance(value, dict) or not is_dataclass(kind):
        return value
    made: Any = kind
    try:
        return made(**value)
    except TypeError as problem:
        raise UserError(f"{_flag(name)} holds {value!r}, which is none: {reason(problem)}.") from None


def _not_given(complaint: str, config: Any, given: Collection[str], source: str) -> str:
    """Whose flags a complaint is about, where nobody gave them on the command line; its remedy is behind ";"."""
    about, values = complaint.partition(";")[0], {one.name: getattr(config, one.name) for one in fields(config)}
    named = [f"{_flag(name)} {str(value).lower() if isinstance(value, bool) else value}"
             for name, value in values.items()
             if name not in given and value is not None and re.search(rf"{_flag(name)}(?![\w-])", about)]  # fmt: skip
    return f" ({source} sets {' and '.join(named)}.)" if named else ""


def _changed(base: Config, given: dict[str, Any]) -> Config:
    """The settings with what was given, and folders beside one that was moved moved with it."""
    kept = {one.name: one.metadata.get("beside") for one in fields(base) if one.name not in given}
    moved = {name: given[other] for name, other in kept.items()
             if other in given and given[other] != getattr(base, other)}  # fmt: skip
    return replace(base, **given, **moved)


def _parser(presets: Registry[Config], kind: type[Config], hints: dict[str, Any], foreign: ForeignFlags) -> Parser:
    parser = Parser(
        aliases=foreign.aliases, epilog=foreign.help() or None, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", metavar="NAME", help="one of: " + ", ".join(presets))
    parser.add_argument("--config", metavar="FILE", help=f"JSON or YAML of settings, such as the {FILE_NAME} of a run; "
                        "over those of --preset, where one is given, and below the flags")  # fmt: skip
    parser.add_argument("--print-config", action="store_true", help="print the settings as JSON and do nothing")
    for one in fields(kind):
        several: dict[str, Any] = {"nargs": "*"} if get_origin(_not_none(hints[one.name])) is tuple else {}
        parser.add_argument(_flag(one.name), dest=one.name, metavar=_shown(hints[one.name]), help=_help(one),
                            default=argparse.SUPPRESS, **several)  # fmt: skip
    return parser


def check(config: Config) -> Config:
    """The same configuration, if every field keeps its type and limits and its own `check` method agrees.

    Raises:
        UserError: a field does not, or the method does not agree.
    """
    hints = get_type_hints(type(config))
    for one in fields(config):
        value = getattr(config, one.name)
        if isinstance(value, str) and (meant := one.metadata.get("instead", {}).get(value)):
            raise UserError(f"{_flag(one.name)} is {value!r}, which is told by two flags here; give {meant}.")
        _check_type(one.name, hints[one.name], value)
        for number in value if isinstance(value, tuple) else (value,):
            _check_limits(one, number)
    if own := getattr(config, "check", None):
        own()
    return config


def save(config: Any, folder: str | Path) -> Path:
    """Write the settings and the versions of the libraries as `training_config.json` into `folder`.

    Raises:
        UserError: nothing can be written there.
    """
    path = Path(folder) / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"settings": asdict(config), "versions": versions()}, indent=2) + "\n")
    except OSError as problem:
        raise UserError(f"cannot write {str(path)!r} ({problem.strerror}); choose another output folder.") from None
    return path


def versions() -> dict[str, str]:
    """Versions of Python and of those libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in ("llmga", *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run(
    story: Callable[[Config], object],
    presets: Registry[Config],
    argv: Sequence[str] | None = None,
    foreign: ForeignFlags = NONE,
) -> int:
    """A whole command line: read the settings, do the work, answer with an exit code (2 for a user's mistake)."""

    @command_line
    def main(argv: Sequence[str] | None = None) -> int:
        config = parse_arguments(presets, argv, foreign)
        quiet_libraries()
        story(config)
        return 0

    return main(argv)


def _help(one: Field) -> str:
    default = "" if one.default is MISSING else f" (default: {one.default})"
    return (one.metadata.get("help", "") + default).replace("%", "%%")


def _not_none(hint: Any) -> Any:
    """`X` for `X | None`, anything else as it is."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _shown(hint: Any) -> str:
    inner = _not_none(hint)
    if get_origin(inner) is Literal:
        return "|".join(map(str, get_args(inner)))
    if get_origin(inner) is tuple:
        return _shown(get_args(inner)[0])
    return "true|false" if inner is bool else inner.__name__.upper()


def _read(name: str, hint: Any, given: str | list[str]) -> Any:
    inner = _not_none(hint)
    if inner is not hint and given in ("none", "None", ["none"]):
        return None
    if isinstance(given, str):
        return _read_one(name, inner, given)
    kind = get_args(inner)[0]
    if kind in (int, float):  # 64,64 is as good as 64 64
        given = [part for word in given for part in word.split(",") if part]
    return tuple(_read_one(name, kind, word) for word in given)


def _read_one(name: str, kind: Any, text: str) -> Any:
    parse = getattr(kind, "parse", None)
    if is_dataclass(kind) and parse is not None:
        return parse(text)
    if get_origin(kind) is Literal:
        return next((word for word in get_args(kind) if str(word) == text), text)
    try:
        return BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UserError(f"{_flag(name)} is {text!r}, but must be {_described(kind)}.") from None


def _check_type(name: str, hint: Any, value: Any) -> None:
    inner = _not_none(hint)
    if value is None and inner is not hint:
        return
    if get_origin(inner) is tuple:
        _check_tuple(name, get_args(inner), value)
    elif get_origin(inner) is Literal:
        if value not in get_args(inner):
            raise UserError(f"{_flag(name)} is {value!r}, but must be one of: {', '.join(map(str, get_args(inner)))}.")
    elif not isinstance(value, (int, float) if inner is float else inner) or (inner in (int, float) and value is True):
        raise UserError(f"{_flag(name)} is {value!r}, but must be {_described(inner)}.")


def _check_tuple(name: str, kinds: tuple[Any, ...], value: Any) -> None:
    if not isinstance(value, tuple) or (kinds[-1] is not Ellipsis and len(value) != len(kinds)):
        count = "any number of" if kinds[-1] is Ellipsis else len(kinds)
        raise UserError(f"{_flag(name)} is {value!r}, but must be {count} values, each {_described(kinds[0])}.")
    for each in value:
        _check_type(name, kinds[0], each)


def _check_limits(one: Field, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    low, high = one.metadata.get("minimum"), one.metadata.get("maximum")
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
        limits = "a finite number" if low is None and high is None else limits
        raise UserError(f"{_flag(one.name)} is {value!r}, but must be {limits}.")


def _described(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
