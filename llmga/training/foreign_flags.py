"""Flags that people bring from other trainers, read as ours where they mean the same.

Most are aliases, another name for a flag of ours.  A row of a table reads what is not: it takes what was given and
answers with words of our command line.  Names are written in hyphens, without dashes in front::

    FLAGS = ForeignFlags(
        aliases={"learning-rate": "lr"},
        rows={"lora-enable": Mapped({"true": "--tune lora", "false": ""}), "lazy-preprocess": left_out("why")},
    )
"""

import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llmga.command_line import WIDTH, hyphened
from llmga.errors import UserError

READ = "read as other trainers mean it"
PARTLY = "read with these values only; others are told what to do instead"
TOLD = "known from other trainers, but not here; each is told what to do instead"


@dataclass(frozen=True)
class Given:
    """One of their flags on a command line.

    Attributes:
        flag: as it was written.
        words: its values; a switch has none.
        others: the values of every flag on the command line, by its name.
    """

    flag: str
    words: list[str]
    others: Mapping[str, list[str]]

    @property
    def value(self) -> str:
        """A switch says true."""
        return " ".join(self.words) or "true"


Row = Callable[[Given], list[str]]


def switch(ours: str) -> Row:
    """A flag that may stand without a value, which then is true."""
    return lambda given: [f"--{ours}", given.value]


@dataclass(frozen=True)
class Mapped:
    """Their values, in lower case, as words of ours.

    Attributes:
        values: by theirs; as a key "*" stands for every other value, among the words for what was given.
        instead: what to do about other values.
    """

    values: Mapping[str, str]
    instead: str = ""

    def __call__(self, given: Given) -> list[str]:
        words = self.values.get(given.value.lower(), self.values.get("*"))
        if words is None:
            remedy = self.instead or f"give {' or '.join(self.values)}"
            raise UserError(f"{given.flag} {given.value} is not known here; {remedy}.")
        return [each for word in words.split() for each in (given.words if word == "*" else [word])]


def left_out(why: str) -> Row:
    """What changes nothing here; said on stderr."""

    def read(given: Given) -> list[str]:
        print(f"{given.flag} is left out: {why}", file=sys.stderr)
        return []

    return read


@dataclass(frozen=True)
class Refused:
    """What is done in another way here."""

    instead: str

    def __call__(self, given: Given) -> list[str]:
        raise UserError(f"{given.flag} is not known here; {self.instead}.")


@dataclass(frozen=True)
class ForeignFlags:
    """What a trainer understands of other trainers' flags.

    Attributes:
        aliases: their name -> ours.
        rows: their name -> how it is read.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, Row] = field(default_factory=dict)

    def translated(self, argv: Sequence[str]) -> list[str]:
        """A command line without flags of `rows`: theirs first, so that ours have the last word.

        Raises:
            UserError: one of their flags, or its value, means nothing here.
        """
        groups = _grouped(argv)
        others = {hyphened(flag): words for flag, words in groups}
        rows = {flag: self.rows[hyphened(flag)] for flag, _ in groups if hyphened(flag) in self.rows}
        theirs = [word for flag, words in groups if flag in rows for word in rows[flag](Given(flag, words, others))]
        return theirs + [word for flag, words in groups if flag not in rows for word in (flag, *words) if word]

    def help(self) -> str:
        """A paragraph for each way in which the rows are read."""
        found: dict[str, list[str]] = {heading: [] for heading in (READ, PARTLY, TOLD)}
        for name, row in self.rows.items():
            partly = isinstance(row, Mapped) and row.instead and "*" not in row.values
            heading = TOLD if isinstance(row, Refused) else PARTLY if partly else READ
            values = f" {'|'.join(row.values)}" if isinstance(row, Mapped) and partly else ""
            found[heading].append(f"--{name}{values}")
        return "\n\n".join(
            textwrap.fill(f"{heading}: {', '.join(names)}", WIDTH, break_on_hyphens=False)
            for heading, names in found.items()
            if names
        )


def _grouped(argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each flag with the words behind it, and those before the first flag behind none."""
    groups: list[tuple[str, list[str]]] = [("", [])]
    for word in argv:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            groups.append((flag, [value] if equals else []))
        else:
            groups[-1][1].append(word)
    return groups


NONE = ForeignFlags()
HUB = Refused("nothing is uploaded; the folder of the result is what a hub takes")
# What trainers have in common, in every training here.
COMMON: dict[str, Row] = {
    "do-train": Mapped({"true": ""}, "this program trains; leave it out"),
    "overwrite-output-dir": left_out("a run goes on from its newest checkpoint; another output folder starts afresh"),
    "run-name": left_out("a run is known by its folder"),
    "torch-compile": Mapped({"false": ""}, "nothing is compiled; leave it out"),
    "fsdp": Refused("--deepspeed takes a JSON, such as scripts/zero2.json, that spreads a training over GPUs"),
    "push-to-hub": Mapped({"false": ""}, HUB.instead),
    "hub-model-id": HUB,
    "hub-token": HUB,
}
