"""Variants are rows: a table that answers a wrong name with the names it knows."""

import difflib
from collections.abc import Iterator, Mapping
from typing import TypeVar

from llmga.errors import UserError

Row = TypeVar("Row")


class Registry(Mapping[str, Row]):
    """A read-only mapping from a name to a row.

    Args:
        kind: what a row is, in the words of the error message, such as "conversation mode".
        rows: the rows by name, in the order in which they are listed.
    """

    def __init__(self, kind: str, rows: Mapping[str, Row]):
        self.kind = kind
        self._rows = dict(rows)

    def __getitem__(self, name: str) -> Row:
        """Raises: UserError, naming the close matches and all known names."""
        try:
            return self._rows[name]
        except KeyError:
            close = difflib.get_close_matches(str(name), self._rows, n=1)
            hint = f", did you mean {close[0]!r}?" if close else "."
            known = ", ".join(self._rows)
            raise UserError(f"unknown {self.kind} {name!r}{hint} Known are: {known}.") from None

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
