"""Variants are rows: a table that can be added to, and answers a wrong name with the names it knows."""

import difflib
from collections.abc import Iterator, Mapping
from typing import TypeVar

from llmga.errors import UserError

Row = TypeVar("Row")
_REGISTERED: dict[str, list[str]] = {}


def registered(kind: str) -> tuple[str, ...]:
    """The names of rows of a kind that programs have added, for those who know the names of ours without a table."""
    return tuple(_REGISTERED.get(kind, ()))


class Registry(Mapping[str, Row]):
    """A table: a mapping from a name to a row, which a program may add rows of its own to.

    A row that is registered is found by its name wherever one of ours is, in Python and on the command line::

        from llmga.diffrir.restorers import RESTORERS

        def gray(image, reference=None, mask=None):
            return image.convert("L").convert("RGB")

        RESTORERS.register("gray", gray)
        load_restorer("gray")      # as --restorer gray does

    Args:
        kind: what a row is, in the words of the error message, such as "conversation mode".
        rows: the rows by name, in the order in which they are listed.
    """

    def __init__(self, kind: str, rows: Mapping[str, Row]):
        self.kind = kind
        self._rows = dict(rows)

    def register(self, name: str, row: Row) -> Row:
        """Add a row.

        Args:
            name: by which it is looked up; free, so that no name changes its meaning.
            row: of the kind that the table holds.

        Returns:
            The row as it is.

        Raises:
            ValueError: when the name is taken.
        """
        if name in self._rows:
            raise ValueError(f"{self.kind} {name!r} is there already; register yours under another name")
        self._rows[name] = row
        _REGISTERED.setdefault(self.kind, []).append(name)
        return row

    def __getitem__(self, name: str) -> Row:
        """The row of a name.

        Raises:
            UserError: for an unknown one, naming the nearest and all known names.
        """
        try:
            return self._rows[name]
        except (KeyError, TypeError):  # a list is no name
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
