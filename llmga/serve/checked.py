"""What a file says, made into data: every field has the type that its class states, or the file is damaged."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

Data = TypeVar("Data")


def checked(data: Data) -> Data:
    """The same.  Raises: TypeError when a field of it, or of what is in it, has another type than its class states."""
    for name, hint in get_type_hints(type(data)).items():
        if not _fits(getattr(data, name), hint):
            raise TypeError(f"{name} is {getattr(data, name)!r}, which is no {hint}")
    return data


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return True
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        parts = parts[:1] * len(value) if isinstance(value, tuple) and parts[-1] is ... else parts
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    if kind is Literal:
        return value in parts
    if kind is list:
        return isinstance(value, list) and all(_fits(each, parts[0]) for each in value)
    if is_typeddict(kind):
        known = get_type_hints(kind)
        complete = isinstance(value, Mapping) and kind.__required_keys__ <= set(value)
        return complete and all(name in known and _fits(value[name], known[name]) for name in value)
    return isinstance(value, kind) and (not is_dataclass(value) or checked(value) is value)
