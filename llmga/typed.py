"""What a file says, made into data: parsed within bounds, every value of the type and range that its field states.

A range stands in the annotation of the field, and whoever sets the field himself is not asked:

    @dataclass
    class Settings:
        steps: Annotated[int, within(1, 1000)] = 20

    typed(Settings, parsed('{"steps": 30}'))  -> Settings(steps=30)
    typed(Settings, parsed('{"steps": 0}'))   -> ValueError: steps is 0; allowed is 1 to 1000
"""

import json
import math
import re
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from llmga.files import plain_file

Data = TypeVar("Data")
Makers = Mapping[Any, Callable[[Any], Any]]

LONGEST_FILE = 8_000_000  # characters that are parsed at once
MOST_VALUES = 500_000  # in them: the shortest ones take thirty times as much memory as characters
LONGEST_TEXT = 500_000  # characters of a text whose field states no length
LARGEST_NUMBER = 2**63
HALF = r"\ud"
NO_MAKERS: Makers = {}


def parsed(text: str | bytes, *, longest: int = LONGEST_FILE, most: int = MOST_VALUES) -> Any:
    """The JSON value of a text from anywhere.

    Args:
        longest: characters, or bytes.
        most: values in it, about: what separates them is counted.

    Raises: ValueError for what is no JSON or not UTF-8, nested too deeply, too long, or holds a name twice, a number
        that is none, or half a character.
    """
    if len(text) > longest:
        raise ValueError(f"it is longer than {longest} characters")
    text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    if sum(map(text.count, "[{,")) > most:
        raise ValueError(f"it holds more than {most} values")
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        if HALF in text.lower():  # escapes may be of half a character, which nothing can write
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half a character") from None
    return value


def read_json(path: str | Path, *, longest: int = LONGEST_FILE, most: int = MOST_VALUES) -> Any:
    """The JSON value in a file.

    Args:
        longest, most: as `parsed` takes them; `longest` in bytes.

    Raises: OSError when it cannot be read or is no plain file; ValueError as `parsed`.
    """
    with plain_file(path).open("rb") as file:
        return parsed(file.read(longest + 1), longest=longest, most=most)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which the last value of a name would silently win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


@dataclass(frozen=True)
class Rule:
    """What a value of the right type must be beyond that; None is what an optional field may be anyway.

    Attributes:
        told: what is allowed, in the words of a message.
        ends: the least and the greatest of a number.
        names: all that a name may be.
    """

    told: str
    fits: Callable[[Any], bool]
    ends: tuple[float, float] | None = None
    names: tuple[str, ...] = ()


def within(low: float, high: float) -> Rule:
    """Of a number: both ends are included."""
    return Rule(f"{low} to {high}", lambda value: low <= value <= high, ends=(low, high))


def up_to(length: int, least: int = 0) -> Rule:
    """Of a text, in characters, or of a list."""
    return Rule(f"a length of {least} to {length}", lambda value: least <= len(value) <= length)


def row_of(table: Collection[str]) -> Rule:
    """Of a name."""
    return Rule(f"one of {', '.join(table)}", lambda value: value in table, names=tuple(table))


def like(pattern: str, told: str) -> Rule:
    """Of a text that has a form: a regular expression of all of it."""
    form = re.compile(pattern)
    return Rule(told, lambda value: form.fullmatch(value) is not None)


def is_one_part(name: str) -> bool:
    """Whether a name is one part of a path, on any system: neither a way through folders nor an address."""
    plain = all(kind(name).name == name for kind in (PurePosixPath, PureWindowsPath))
    return plain and name not in ("", "..") and len(name) <= 255 and name.isprintable()


one_part = Rule("a name without folders", is_one_part)


def typed(kind: type[Data], told: Any, makers: Makers = NO_MAKERS, where: str = "it") -> Data:
    """Plain values of JSON as data of a kind.

    Args:
        kind: a dataclass or a `TypedDict`, whose unknown keys (of a later version) are left aside; `tuple`, `list`,
            `dict`, `Literal`, a plain type, one of them or None; each may be `Annotated` with rules.  A field of a
            dataclass may go by another name, `field(metadata={"key": …})`.
        told: plain values.
        makers: what makes values of further kinds.
        where: what messages call it.

    Raises: TypeError for a value of another type or one that is missing; ValueError for one out of its range, and for a
        number that is not finite; whatever the makers raise.
    """
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        value = typed(kind.__origin__, told, makers, where)
        for rule in kind.__metadata__:
            if isinstance(rule, Rule) and not rule.fits(value):
                raise ValueError(f"{where} is {reprlib.repr(value)}; allowed is {rule.told}")
        return value
    if origin in (Union, UnionType):
        (other,) = (part for part in parts if part is not NoneType)
        return None if told is None else typed(other, told, makers, where)
    if kind is Any:
        return told
    if origin in makers:
        return makers[origin](told)
    if origin is Literal:
        return _literal(parts, told, where)
    if origin in _READERS:
        return _READERS[origin](parts, told, makers, where)
    if is_typeddict(origin):
        return _entries(origin, told, makers, where)
    if is_dataclass(origin):
        return _data(origin, told, makers, where)
    raise AssertionError(f"no values of {kind} can be read")


def _of(kind: type | tuple[type, ...], told: Any, where: str, name: str) -> Any:
    if not isinstance(told, kind) or (isinstance(told, bool) and kind is not bool):
        raise TypeError(f"{where} is {reprlib.repr(told)}, which is no {name}")
    return told


def _literal(allowed: tuple[Any, ...], told: Any, where: str) -> Any:
    if not any(type(told) is type(each) and told == each for each in allowed):
        raise TypeError(f"{where} is {reprlib.repr(told)}; allowed is {', '.join(map(repr, allowed))}")
    return told


def _text(parts: Any, told: Any, makers: Makers, where: str) -> str:
    _of(str, told, where, "text")
    if len(told) > LONGEST_TEXT:
        raise ValueError(f"{where} is longer than {LONGEST_TEXT} characters")
    return told


def _whole(parts: Any, told: Any, makers: Makers, where: str) -> int:
    if abs(_of(int, told, where, "whole number")) > LARGEST_NUMBER:
        raise ValueError(f"{where} is too large a number")
    return told


def _real(parts: Any, told: Any, makers: Makers, where: str) -> float:
    _of((int, float), told, where, "number")
    if not (abs(told) <= LARGEST_NUMBER or (isinstance(told, float) and math.isfinite(told))):
        raise ValueError(f"{where} is too large a number")
    return told


def _tuple(parts: tuple[Any, ...], told: Any, makers: Makers, where: str) -> tuple[Any, ...]:
    _of(list, told, where, "list")
    kinds = parts[:1] * len(told) if parts[-1] is ... else parts
    if len(kinds) != len(told):
        raise TypeError(f"{where} is {reprlib.repr(told)}, which is no list of {len(kinds)}")
    places = (f"{where}[{number}]" for number in range(len(told)))
    return tuple(typed(kind, each, makers, place) for kind, each, place in zip(kinds, told, places, strict=True))


def _list(parts: tuple[Any, ...], told: Any, makers: Makers, where: str) -> list[Any]:
    return list(_tuple((parts[0], ...), told, makers, where))


def _dict(parts: tuple[Any, ...], told: Any, makers: Makers, where: str) -> dict[str, Any]:
    _of(dict, told, where, "object")
    return {name: typed(parts[1], told[name], makers, _below(where, reprlib.repr(name))) for name in told}


_READERS: dict[Any, Callable[..., Any]] = {
    str: _text,
    int: _whole,
    float: _real,
    bool: lambda parts, told, makers, where: _of(bool, told, where, "truth"),
    tuple: _tuple,
    list: _list,
    dict: _dict,
}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _entries(kind: Any, told: Any, makers: Makers, where: str) -> dict[str, Any]:
    """What a `TypedDict` knows."""
    _of(dict, told, where, "object")
    for name in kind.__required_keys__ - told.keys():
        raise TypeError(f"{_below(where, name)} is missing")
    hints = _hints(kind)
    return {name: typed(hints[name], told[name], makers, _below(where, name)) for name in told if name in hints}


def _data(kind: Any, told: Any, makers: Makers, where: str) -> Any:
    return kind(**dict(_fields(kind, _of(dict, told, where, "object"), makers, where)))


def _fields(kind: Any, told: dict[str, Any], makers: Makers, where: str) -> Iterator[tuple[str, Any]]:
    hints = _hints(kind)
    for entry in fields(kind):
        key = entry.metadata.get("key", entry.name)
        if key in told:
            yield entry.name, typed(hints[entry.name], told[key], makers, _below(where, key))
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise TypeError(f"{_below(where, key)} is missing")


def _below(where: str, name: str) -> str:
    return name if where == "it" else f"{where}.{name}"
