"""What of a scene somebody happens to name."""

import random
from dataclasses import replace
from typing import TypeVar

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.relations import relations
from llmga.toyworld.world.scene import Scene

Framed = TypeVar("Framed", Wish, Scene)
# Attribute -> how often it is named.
NAMED = {"kind": 0.96, "colour": 0.8, "size": 0.45, "pattern": 0.95, "place": 0.45}
GROUND_NAMED, RELATED = 0.65, 0.55
STYLE_NAMED = {"flat": 0.15, "outlined": 0.9, "sketched": 0.9}


def whole(scene: Scene) -> Wish:
    """Everything by itself: relations only where a bond makes them."""
    bonds = ((1, scene.bond, 0),) if scene.bond else ()
    return Wish(tuple(_named(thing.attributes, set(NAMED)) for thing in scene.things), bonds, scene.ground, scene.style)


def partial(scene: Scene, rng: random.Random) -> Wish:
    """A part of a scene; of equal things the same is named."""
    chosen = {look: _chosen(rng) for look in sorted({thing.look for thing in scene.things})}
    things = [_named(thing.attributes, chosen[thing.look]) for thing in scene.things]
    alike = len(chosen) < len(things)
    told: tuple[tuple[int, str, int], ...] = ((1, scene.bond, 0),) if scene.bond else ()
    if not told and not alike and len(things) > 1 and rng.random() < RELATED:
        told = _told(scene, rng)
    for one, word, other in told:  # who says where a thing is from another does not say where it is, too
        for number in (one, other) if word != scene.bond else (one,):
            things[number].pop("place", None)
    if alike:
        for thing in things:
            thing.pop("place", None)
    if len(things) > 1:  # things of no kind cannot be told apart
        for thing, real in zip(things, scene.things, strict=True):
            thing["kind"] = real.kind
    ground = scene.ground if rng.random() < GROUND_NAMED else ""
    style = scene.style if rng.random() < STYLE_NAMED[scene.style] else ""
    return Wish(tuple(things), told, ground, style)


def framed(whole: Framed, name: str, value: str) -> Framed:
    """The same with another `ground` or `style`."""
    return replace(whole, ground=value) if name == "ground" else replace(whole, style=value)


def _chosen(rng: random.Random) -> set[str]:
    chosen = {name for name, share in NAMED.items() if rng.random() < share}
    return chosen if chosen & {"kind", "colour"} else chosen | {"kind"}


def _named(attributes: dict[str, str], names: set[str]) -> dict[str, str]:
    """What is named of a thing; that it has no pattern goes without saying."""
    return {name: value for name, value in attributes.items() if name in names and value != "plain"}


def _told(scene: Scene, rng: random.Random) -> tuple[tuple[int, str, int], ...]:
    """One relation of a pair, or two that tie all three things together."""
    found = relations(scene)
    rng.shuffle(found)
    if len(scene.things) == 2 or len(scene.counts()) < 3:
        return tuple(found[:1])
    return tuple(found[:2]) if {n for one, _, other in found[:2] for n in (one, other)} == {0, 1, 2} else ()
