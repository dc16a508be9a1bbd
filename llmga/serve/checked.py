"""What a file says, made into data: every field has the type that its class states, or the file is damaged."""

from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

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
    return isinstance(value, kind) and (not is_dataclass(value) or checked(value) is value)
