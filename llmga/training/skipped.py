"""Pictures that a training cannot use: reported once, counted, listed beside the run; the next takes their place."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TypeVar

from llmga.errors import UserError

FILE_NAME = "left_out.jsonl"
TRIES = 20  # pictures that may be damaged one after the other

Example = TypeVar("Example")


class Unreadable(UserError):
    """A picture, or its mask, that is damaged or gone."""


class SkippedImages:
    """The pictures of a run that cannot be used.

    Args:
        run: its folder; the list there is a JSON object a line, {"picture", "told"}.  Workers and processes may all
            write it, and a run that goes on adds what is new.
    """

    def __init__(self, run: str | Path):
        self.file: Path = Path(run) / FILE_NAME
        self.reported: set[str] = set()

    def first_usable(
        self, candidates: Iterable[int], read: Callable[[int], Example], name: Callable[[int], str]
    ) -> Example:
        """What `read` makes of the first candidate that is whole.

        Args:
            candidates: numbers of records, in the order in which they are tried.
            read: number -> example; raises `Unreadable`.
            name: number -> what tells its picture from all others.

        Raises:
            UserError: `TRIES` one after the other are damaged.
        """
        complaints: dict[str, Unreadable] = {}
        for candidate in islice(candidates, TRIES):
            try:
                example = read(candidate)
            except Unreadable as problem:
                complaints[name(candidate)] = problem
                continue
            self.report_all(complaints)
            return example
        raise none_usable(list(complaints.values()))

    def report(self, name: str, complaint: str) -> None:
        """On stderr and in the list, unless that was done before."""
        if name in self.reported:
            return
        self.reported.add(name)
        if name not in self.names():
            print(f"passed over: {complaint}", file=sys.stderr)
            self._add({"picture": name, "told": complaint})

    def report_all(self, complaints: Mapping[str, Unreadable]) -> None:
        """Report each picture of a mapping from names to what is wrong."""
        for name, problem in complaints.items():
            self.report(name, str(problem))

    def names(self) -> set[str]:
        """Every picture in the list."""
        try:
            lines = self.file.read_text(encoding="utf-8").splitlines()
            return {json.loads(line)["picture"] for line in lines}
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def summary(self) -> str | None:
        """How many there are and where they stand; None when there is none."""
        count = len(self.names())
        pictures = "picture was" if count == 1 else "pictures were"
        return f"{count} {pictures} passed over; {str(self.file)!r} says why." if count else None

    def _add(self, line: dict[str, str]) -> None:
        """In one call, so that lines of several processes do not mix."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            target = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(target, (json.dumps(line) + "\n").encode())
            finally:
                os.close(target)
        except OSError as problem:
            print(f"warning: cannot write {str(self.file)!r} ({problem.strerror}).", file=sys.stderr)


def none_usable(complaints: list[Unreadable]) -> UserError:
    """What is said when nothing takes a picture's place: the first of the complaints, and how many more there are."""
    others = len(complaints) - 1
    return UserError(str(complaints[0]) + (f" (Nor can {others} more be used.)" if others else ""))
