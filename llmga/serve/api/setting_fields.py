"""The HTTP fields of the settings, from their table."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field, create_model, model_validator
from pydantic_core import PydanticKnownError

from llmga.assistant.settings import SETTINGS, Setting


def _not_boolean(value: Any) -> Any:
    """Return what may be a number; pydantic would take false for 0."""
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


UNSAID: list[Any] = [None, False, 0, "", [], {}]  # values that ask for nothing
NUMBER = BeforeValidator(_not_boolean)  # of an int or a float, as its last annotation


def model_of(group: str, kinds: Mapping[type, Any], rows: Mapping[str, Setting] = SETTINGS) -> type[BaseModel]:
    """Return a pydantic model with the fields of a group of settings; each may be left out.

    Args:
        kinds: What travels in place of a type of the table.
    """
    asked = {row.request: row for row in rows.values() if row.group == group and row.request}
    fields: dict[str, Any] = {
        name: (_kind(row, kinds) | None, Field(None, description=row.help)) for name, row in asked.items()
    }
    return create_model(group.capitalize(), __base__=BaseModel, **fields)


def fields_of(names: Sequence[str], told: str) -> type[BaseModel]:
    """Return a pydantic model of fields of any type that all have the same to tell of them."""
    fields: dict[str, Any] = {name: (Any, Field(None, description=told)) for name in names}
    return create_model("Fields", **fields)


class Refusing(BaseModel):
    """A request in which some fields would change the answer, but are not served.

    Attributes:
        not_served: These fields, beside values that would change nothing; nor do empty ones.
    """

    not_served: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _check_not_served(cls, values: Any) -> Any:
        for name, neutral in cls.not_served.items() if isinstance(values, dict) else ():
            if values.get(name) and values[name] not in neutral:
                raise ValueError(f"{name!r} is not served here; leave it out")
        return values


def refusing(rows: Mapping[str, tuple[Any, ...]]) -> type[Refusing]:
    """Return a pydantic model that knows these fields, and refuses them where they would change the answer."""
    told = "refused where it would change the answer"
    fields: dict[str, Any] = {
        name: (Any, Field(None, description=told, json_schema_extra={"enum": [*UNSAID, *neutral]}))
        for name, neutral in rows.items()
    }
    made: type[Refusing] = create_model("NotServed", __base__=Refusing, **fields)
    made.not_served = rows
    return made


def _kind(row: Setting, kinds: Mapping[type, Any]) -> Any:
    """Return the type of a field; of a fraction everything above 0, though people are offered a rounder least."""
    if row.closed:
        return Literal[row.names]
    if row.offered is None:
        return kinds.get(row.kind, row.kind)
    low, high = row.offered
    if row.kind is int:
        return Annotated[int, Field(ge=low, le=high), NUMBER]
    least: dict[str, Any] = {"gt": 0.0} if low > 0 else {"ge": low}
    return Annotated[float, Field(le=high, allow_inf_nan=False, **least), NUMBER]
