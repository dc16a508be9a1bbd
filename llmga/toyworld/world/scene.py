"""Scenes as data: a ground, a style, and up to three things with their places."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.kinds import KINDS

SIZES = ("small", "medium", "large")
PATTERNS = ("plain", "striped", "dotted")
STYLES = ("flat", "outlined", "sketched")
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")
PLACES = tuple(f"{row} {column}".strip() or "center" for row, column in product(ROWS, COLUMNS))
# How the second thing of a scene belongs to the first, whose place it shares.
BONDS = ("inside", "in front of")
MOST_THINGS = 3

# Attribute of a thing -> its values; the order is the order in which results are reported.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "kind": tuple(KINDS),
    "colour": tuple(COLOURS),
    "size": SIZES,
    "pattern": PATTERNS,
    "place": PLACES,
}


def _check(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; the world knows {', '.join(known)}")


@dataclass(frozen=True)
class Thing:
    """One thing; every field is a value of `ATTRIBUTES`."""

    kind: str
    colour: str
    size: str = "medium"
    pattern: str = "plain"
    place: str = "center"

    def __post_init__(self) -> None:
        for name, known in ATTRIBUTES.items():
            _check(name, getattr(self, name), known)

    @property
    def attributes(self) -> dict[str, str]:
        """All attributes by their names, in the order of `ATTRIBUTES`."""
        return {name: getattr(self, name) for name in ATTRIBUTES}

    @property
    def look(self) -> tuple[str, str, str, str]:
        """What makes two things the same: everything but the place."""
        return self.kind, self.colour, self.size, self.pattern


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Things are kept in reading order of their places, so that equal pictures are equal scenes.  With a bond, the first
    thing is the host, the second the one that is inside it or in front of it, at the same place; a third follows.
    """

    ground: str
    style: str = "flat"
    things: tuple[Thing, ...] = ()
    bond: str = ""

    def __post_init__(self) -> None:
        _check("ground", self.ground, GROUNDS)
        _check("style", self.style, STYLES)
        if len(self.things) > MOST_THINGS:
            raise ValueError(f"{len(self.things)} things are too many; a scene holds up to {MOST_THINGS}")
        if self.bond:
            _check("bond", self.bond, BONDS)
            if len(self.things) < 2 or self.things[0].place != self.things[1].place:
                raise ValueError(f"{self.bond!r} needs two things at the same place, the host first")
        bound = 2 * bool(self.bond)
        free = sorted(self.things[bound:], key=lambda thing: PLACES.index(thing.place))
        object.__setattr__(self, "things", (*self.things[:bound], *free))
        places = [thing.place for thing in self.things[bool(self.bond) :]]
        if len(set(places)) < len(places):
            raise ValueError(f"two things at one place ({', '.join(places)}); move one, or bind them with a bond")

    def with_thing(self, index: int, **changes: str) -> "Scene":
        """This scene with some attributes of one thing changed."""
        things = list(self.things)
        things[index] = replace(things[index], **changes)
        return replace(self, things=tuple(things))

    def counts(self) -> dict[str, int]:
        """How many things of every kind there are."""
        kinds = [thing.kind for thing in self.things]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
