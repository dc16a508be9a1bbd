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
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from llmga.files import plain_file
from llmga.registry import registered

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

    Raises:
        ValueError: for what is no JSON or not UTF-8, nested too deeply, too long, or holds a name twice, a number that
            is none, or half a character.
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
        path: of the file.
        longest: as `parsed` takes it, in bytes.
        most: as `parsed` takes it.

    Raises:
        OSError: when it cannot be read or is no plain file.
        ValueError: as `parsed`.
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

    def __repr__(self) -> str:
        """As `help` shows it at a field."""
        return f"<{self.told}>"


def within(low: float, high: float) -> Rule:
    """Of a number: both ends are included."""
    return Rule(f"{low} to {high}", lambda value: low <= value <= high, ends=(low, high))


def up_to(length: int, least: int = 0) -> Rule:
    """Of a text, in characters, or of a list."""
    return Rule(f"a length of {least} to {length}", lambda value: least <= len(value) <= length)


def row_of(names: Collection[str], kind: str = "") -> Rule:
    """Of a name.

    Args:
        kind: of the table whose names these are; a row that a program has registered there fits, too.
    """
    fits = lambda value: value in names or value in registered(kind)  # noqa: E731
    return Rule(f"one of {', '.join(names)}", fits, names=tuple(names))


def like(pattern: str, told: str) -> Rule:
    """Of a text that has a form: a regular expression of all of it."""
    form = re.compile(pattern)
    return Rule(told, lambda value: form.fullmatch(value) is not None)


def is_one_part(name: str) -> bool:
    """Whether a name is one part of a path, on any system: neither a way through folders nor an address."""
    plain = all(kind(name).name == name for kind in (PurePosixPath, PureWindowsPath))
    return plain and name not in ("", "..") and len(name) <= 255 and name.isprintable()


one_part: Rule = Rule("a name without folders", is_one_part)


def typed(kind: type[Data], value: Any, makers: Makers = NO_MAKERS, where: str = "it") -> Data:
    """Plain values of JSON as data of a kind.

    Args:
        kind: a dataclass or a `TypedDict`, whose unknown keys (of a later version) are left aside; `tuple`, `list`,
            `dict`, `Literal`, a plain type, one of them or None; each may be `Annotated` with rules.  A field of a
            dataclass may go by another name, `field(metadata={"key": …})`.
        value: plain values, as JSON gives them.
        makers: what makes values of further kinds.
        where: what messages call it.

    Returns:
        An instance of the kind.

    Raises:
        TypeError: for a value of another type or one that is missing.
        ValueError: for one out of its range, and for a number that is not finite.
        Exception: whatever the makers raise.
    """
    return cast(Data, _typed(kind, value, makers, where))


def _typed(kind: Any, value: Any, makers: Makers, where: str) -> Any:
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        found = _typed(parts[0], value, makers, where)
        for rule in parts[1:]:
            if isinstance(rule, Rule) and not rule.fits(found):
                raise ValueError(f"{where} is {reprlib.repr(found)}; allowed is {rule.told}")
        return found
    if origin in (Union, UnionType):
        (other,) = (part for part in parts if part is not NoneType)
        return None if value is None else _typed(other, value, makers, where)
    if kind is Any:
        return value
    if origin in makers:
        return makers[origin](value)
    if origin is Literal:
        return _literal(parts, value, where)
    if origin in _READERS:
        return _READERS[origin](parts, value, makers, where)
    if is_typeddict(origin):
        return _entries(origin, value, makers, where)
    if is_dataclass(origin):
        return _data(origin, value, makers, where)
    raise AssertionError(f"no values of {kind} can be read")


def _of(kind: type[Data] | tuple[type[Data], ...], value: Any, where: str, name: str) -> Data:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{where} is {reprlib.repr(value)}, which is no {name}")
    return value


def _literal(allowed: tuple[Any, ...], value: Any, where: str) -> Any:
    if not any(type(value) is type(each) and value == each for each in allowed):
        raise TypeError(f"{where} is {reprlib.repr(value)}; allowed is {', '.join(map(repr, allowed))}")
    return value


def _text(parts: Any, value: Any, makers: Makers, where: str) -> str:
    text = _of(str, value, where, "text")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"{where} is longer than {LONGEST_TEXT} characters")
    return text


def _whole(parts: Any, value: Any, makers: Makers, where: str) -> int:
    number = _of(int, value, where, "whole number")
    if abs(number) > LARGEST_NUMBER:
        raise ValueError(f"{where} is too large a number")
    return number


def _real(parts: Any, value: Any, makers: Makers, where: str) -> float:
    number: float = _of((int, float), value, where, "number")
    if not (abs(number) <= LARGEST_NUMBER or (isinstance(number, float) and math.isfinite(number))):
        raise ValueError(f"{where} is too large a number")
    return number


def _tuple(parts: tuple[Any, ...], value: Any, makers: Makers, where: str) -> tuple[Any, ...]:
    _of(list, value, where, "list")
    kinds = parts[:1] * len(value) if parts[-1] is ... else parts
    if len(kinds) != len(value):
        raise TypeError(f"{where} is {reprlib.repr(value)}, which is no list of {len(kinds)}")
    places = (f"{where}[{number}]" for number in range(len(value)))
    return tuple(_typed(kind, each, makers, place) for kind, each, place in zip(kinds, value, places, strict=True))


def _list(parts: tuple[Any, ...], value: Any, makers: Makers, where: str) -> list[Any]:
    return list(_tuple((parts[0], ...), value, makers, where))


def _dict(parts: tuple[Any, ...], value: Any, makers: Makers, where: str) -> dict[str, Any]:
    _of(dict, value, where, "object")
    return {name: _typed(parts[1], value[name], makers, _below(where, reprlib.repr(name))) for name in value}


_READERS: dict[Any, Callable[..., Any]] = {
    str: _text,
    int: _whole,
    float: _real,
    bool: lambda parts, value, makers, where: _of(bool, value, where, "truth"),
    tuple: _tuple,
    list: _list,
    dict: _dict,
}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _entries(kind: Any, value: Any, makers: Makers, where: str) -> dict[str, Any]:
    """What a `TypedDict` knows."""
    _of(dict, value, where, "object")
    for name in kind.__required_keys__ - value.keys():
        raise TypeError(f"{_below(where, name)} is missing")
    hints = _hints(kind)
    return {name: _typed(hints[name], value[name], makers, _below(where, name)) for name in value if name in hints}


def _data(kind: Any, value: Any, makers: Makers, where: str) -> Any:
    return kind(**dict(_fields(kind, _of(dict, value, where, "object"), makers, where)))


def _fields(kind: Any, value: dict[str, Any], makers: Makers, where: str) -> Iterator[tuple[str, Any]]:
    hints = _hints(kind)
    for entry in fields(kind):
        key = entry.metadata.get("key", entry.name)
        if key in value:
            yield entry.name, _typed(hints[entry.name], value[key], makers, _below(where, key))
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise TypeError(f"{_below(where, key)} is missing")


def _below(where: str, name: str) -> str:
    return name if where == "it" else f"{where}.{name}"
