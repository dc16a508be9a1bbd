"""How two things stand to each other: read off a scene, or checked where things were seen."""

from collections.abc import Sequence
from itertools import combinations

from llmga.toyworld.world.layout import BEFORE, INSIDE, SIDE, centres
from llmga.toyworld.world.scene import Scene

SIDES = ("left of", "right of", "above", "below")
RELATIONS = (*SIDES, INSIDE, BEFORE)
APART = SIDE / 12  # pixels by which one thing must be further to a side, of a picture whose shorter side is `SIDE`

Point = tuple[float, float]


def is_beside(one: Point, relation: str, other: Point) -> bool:
    """Whether a thing in the middle of `one` is left of (right of, above, below) one in the middle of `other`."""
    right, down = one[0] - other[0], one[1] - other[1]
    return {"left of": -right, "right of": right, "above": -down, "below": down}[relation] >= APART


def between(one: Point, other: Point) -> str:
    """The side on which a thing mostly is of another; empty when they are at the same place."""
    right, down = one[0] - other[0], one[1] - other[1]
    horizontal, vertical = SIDES[right > 0], SIDES[2 + (down > 0)]
    relation = horizontal if abs(right) >= abs(down) else vertical
    return relation if is_beside(one, relation, other) else ""


def holds(bond: str, middles: Sequence[Point], one: int, relation: str, other: int) -> bool:
    """Whether a relation holds between two of the things seen.

    Args:
        bond: how the second thing belongs to the first, as in a scene.
        middles: (x, y) of every thing.
    """
    if relation in SIDES:
        return is_beside(middles[one], relation, middles[other])
    return bond == relation and (one, other) == (1, 0)


def relations(scene: Scene) -> list[tuple[int, str, int]]:
    """For every two things the relation by which people would tell them apart: (thing, relation, other)."""
    middles = centres(scene)
    found = [(1, scene.bond, 0)] if scene.bond else []
    for one, other in combinations(range(len(middles)), 2):
        relation = between(middles[one], middles[other])
        if relation and not (scene.bond and (one, other) == (0, 1)):
            found.append((one, relation, other))
    return found
