"""Whether a picture shows what was wished for; what was left open is not judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from llmga.toyworld.world.oracle import Reading
from llmga.toyworld.world.placing import Seen
from llmga.toyworld.world.relations import holds, relations
from llmga.toyworld.world.scene import Scene

# Attribute of a thing -> how much it counts when things are matched with those that were wished for.
WEIGHTS = {"kind": 4, "place": 3, "colour": 2, "size": 1, "pattern": 1}


@dataclass(frozen=True)
class Wish:
    """What is wished for.

    Attributes:
        things: of every thing the attributes that were named.
        relations: (thing, relation, other thing), by their numbers in `things`.
        ground, style: empty when left open.
        only: whether nothing else may be there.
    """

    things: tuple[Mapping[str, str], ...]
    relations: tuple[tuple[int, str, int], ...] = ()
    ground: str = ""
    style: str = ""
    only: bool = True

    @classmethod
    def of(cls, scene: Scene) -> "Wish":
        """Everything that a scene shows."""
        return cls(tuple(thing.attributes for thing in scene.things), tuple(relations(scene)), scene.ground,
                   scene.style if scene.things else "")  # fmt: skip


def judge(reading: Reading, wish: Wish) -> dict[str, bool]:
    """Every claim of a wish, and whether the picture holds it.

    Returns:
        `count`, `ground`, `style`, `clean` (nothing that belongs to nothing), and for every thing by its number, from
        1 on, `kind 1`, `colour 1` … and `relation 1` ….
    """
    matched = _matched(reading.things, wish.things)
    verdict = {"count": len(reading.things) == len(wish.things)} if wish.only else {}
    verdict |= {"ground": reading.ground == wish.ground} if wish.ground else {}
    verdict |= {"style": reading.style == wish.style} if wish.style else {}
    verdict["clean"] = reading.is_clean
    for number, (index, named) in enumerate(zip(matched, wish.things, strict=True), 1):
        seen = reading.things[index].thing.attributes if index is not None else {}
        verdict |= {f"{name} {number}": seen.get(name) == value for name, value in named.items()}
    middles = [(seen.x, seen.y) for seen in reading.things]
    for number, (one, relation, other) in enumerate(wish.relations, 1):
        first, second = matched[one], matched[other]
        there = first is not None and second is not None and holds(reading.bond, middles, first, relation, second)
        verdict[f"relation {number}"] = there
    return verdict


def _matched(seen: Sequence[Seen], wanted: Sequence[Mapping[str, str]]) -> tuple[int | None, ...]:
    """For every wanted thing the one that was seen for it: the assignment in which most is right."""
    numbers: list[int | None] = [*range(len(seen)), *(None for _ in wanted)]

    def right(order: tuple[int | None, ...]) -> int:
        pairs = ((seen[n].thing.attributes, named) for n, named in zip(order, wanted, strict=True) if n is not None)
        return sum(WEIGHTS[name] for found, named in pairs for name, value in named.items() if found[name] == value)

    return max(permutations(numbers, len(wanted)), key=right)
