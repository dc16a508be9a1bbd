"""Random scenes, and what training never sees."""

import hashlib
import random
from collections.abc import Iterator
from functools import cache
from itertools import combinations

import numpy as np

from llmga.toyworld.world import grounds
from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.kinds import HOSTS, KINDS
from llmga.toyworld.world.layout import BEFORE, INSIDE, RADII, SIDE, is_clear
from llmga.toyworld.world.scene import PATTERNS, PLACES, SIZES, STYLES, Scene, Thing
from llmga.toyworld.world.templates import template

CONTRAST = 55  # least distance (RGB, 0 to 441) of a thing's colour to its ground
BOND_CONTRAST = 110  # of a thing's colour to that of its host
LEAST_PATTERN = 22  # pixels of the second colour from which a pattern is seen
HELD_OUT_PERCENT = 5

SHARE_OF_COUNTS, SHARE_OF_BONDS = 0.25, 0.3  # among scenes of several things
STYLE_WEIGHTS, PATTERN_WEIGHTS = (2, 1, 1), (3, 1, 1)


@cache
def is_visible(colour: str, ground: str) -> bool:
    """Whether a thing of this colour stands out from this ground, wherever it stands."""
    pixels = grounds.paint(ground, SIDE, SIDE).reshape(-1, 3)
    return bool(np.quantile(np.linalg.norm(pixels - COLOURS[colour], axis=1), 0.1) >= CONTRAST)


@cache
def is_distinct(colour: str, host: str) -> bool:
    """Whether a thing of this colour stands out from a host of that colour."""
    return bool(np.linalg.norm(np.subtract(COLOURS[colour], COLOURS[host])) >= BOND_CONTRAST)


@cache
def carries(kind: str, size: str, pattern: str) -> bool:
    """Whether a kind has room for a pattern at this size."""
    return pattern == "plain" or float(template(kind, RADII[size], pattern, "outlined")[1].sum()) >= LEAST_PATTERN


@cache
def is_chosen(*words: str) -> bool:
    """A choice of about `HELD_OUT_PERCENT` of all word pairs, the same in every process."""
    digest = hashlib.sha256("/".join(words).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def held_out_pairs(scene: Scene) -> Iterator[tuple[str, str]]:
    """The pairs of attributes in a scene that training never sees together.

    Kind and colour, kind and pattern of one thing; the kinds of two things.
    """
    for thing in scene.things:
        if is_chosen(thing.kind, thing.colour):
            yield thing.kind, thing.colour
        if thing.pattern != "plain" and is_chosen(thing.kind, thing.pattern):
            yield thing.kind, thing.pattern
    for one, other in combinations(sorted({thing.kind for thing in scene.things}), 2):
        if is_chosen(one, other):
            yield one, other


def is_held_out(scene: Scene) -> bool:
    """Whether training never sees a scene."""
    return any(True for _ in held_out_pairs(scene))


def random_scene(rng: random.Random, things: int | None = None, *, held_out: bool | None = False) -> Scene:
    """A scene in which everything can be seen.

    Args:
        things: how many; default one to three.
        held_out: only scenes of the training split (False), only others (True), any (None).
    """
    while True:
        count = rng.choices((1, 2, 3), (4, 4, 3))[0] if things is None else things
        scene = _compose(rng, count)
        if scene and is_clear(scene) and held_out in (None, is_held_out(scene)):
            return scene


def random_thing(rng: random.Random, ground: str, sizes: tuple[str, ...] = SIZES) -> Thing:
    """A thing that can be seen on a ground, anywhere."""
    colour = rng.choice([name for name in COLOURS if is_visible(name, ground)])
    kind, size = rng.choice(tuple(KINDS)), rng.choice(sizes)
    pattern = rng.choices(PATTERNS, PATTERN_WEIGHTS)[0]
    return Thing(kind, colour, size, pattern if carries(kind, size, pattern) else "plain", rng.choice(PLACES))


def _compose(rng: random.Random, count: int) -> Scene | None:
    """A scene that may be no good: None, or things that touch."""
    ground, style = rng.choice(GROUNDS), rng.choices(STYLES, STYLE_WEIGHTS)[0]
    luck = rng.random()
    if count > 1 and luck < SHARE_OF_BONDS:
        return _bound(rng, ground, style, count)
    # Three large things have no room, and trying until they have would make them rare anyway.
    things = [random_thing(rng, ground, SIZES[:2] if count == 3 and rng.random() < 0.7 else SIZES)]
    alike = count > 1 and luck < SHARE_OF_BONDS + SHARE_OF_COUNTS
    while len(things) < count:
        other = random_thing(rng, ground, SIZES[: 4 - count] if count == 3 else SIZES)
        things.append(Thing(*things[0].look, place=other.place) if alike else other)
    if len({thing.place for thing in things}) < count:
        return None
    return Scene(ground, style, tuple(things))


def _bound(rng: random.Random, ground: str, style: str, count: int) -> Scene | None:
    """A thing inside another or in front of it, and perhaps a third."""
    bond = rng.choice((INSIDE, BEFORE))
    host, guest, third = (random_thing(rng, ground, sizes) for sizes in _sizes(rng, bond))
    kind = rng.choice(HOSTS) if bond == INSIDE else host.kind
    host = Thing(kind, host.colour, host.size, "plain", host.place)
    guest = Thing(*guest.look, place=host.place)
    if host.kind == guest.kind or not is_distinct(guest.colour, host.colour):
        return None
    if third.place == host.place:
        return None
    return Scene(ground, style, (host, guest, third)[:count], bond)


def _sizes(rng: random.Random, bond: str) -> tuple[tuple[str, ...], ...]:
    """Which sizes host, guest and a third may have."""
    if bond == INSIDE:
        return ("large",), ("small",), SIZES[:2]
    host, guest = rng.choice((("medium", "small"), ("large", "small"), ("large", "medium")))
    return (host,), (guest,), SIZES[:1]
