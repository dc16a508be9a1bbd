"""Where things stand, in pixels of a picture of any size."""

from llmga.toyworld.world.scene import BONDS, COLUMNS, PLACES, Scene

SIDE = 96  # the world's own pictures are squares of this many pixels
RADII = {"small": 12.0, "medium": 16.0, "large": 22.0}  # half extents in 96ths of the shorter side
MARGIN = 2.0  # between a thing and the border it stands at, in 96ths
GAP = 4.0  # between two things that have nothing to do with each other, in 96ths
ASIDE = 0.6  # how far one in front stands beside the middle of its host, as a part of the host's radius

INSIDE, BEFORE = BONDS
Box = tuple[float, float, float, float]


def unit(width: int, height: int) -> float:
    """Pixels in a 96th of the shorter side."""
    return min(width, height) / SIDE


def centre(place: str, size: str, width: int = SIDE, height: int = SIDE) -> tuple[int, int]:
    """(x, y) of the middle of a thing that stands at a place of the nine-fold grid."""
    row, column = divmod(PLACES.index(place), len(COLUMNS))
    reach = (RADII[size] + MARGIN) * unit(width, height)
    return _along(column, reach, width), _along(row, reach, height)


def _along(cell: int, reach: float, length: int) -> int:
    return round(length / 2 + (cell - 1) * (length / 2 - reach))


def in_front(place: str, host: str, guest: str, width: int = SIDE, height: int = SIDE) -> tuple[int, int]:
    """(x, y) of a thing of size `guest` before one of size `host`: on the same foot, towards the picture's middle."""
    x, y = centre(place, host, width, height)
    aside = ASIDE * RADII[host] * (-1 if place.endswith(COLUMNS[2]) else 1)
    scale = unit(width, height)
    return round(x + aside * scale), round(y + (RADII[host] - RADII[guest]) * scale)


def centres(scene: Scene, width: int = SIDE, height: int = SIDE) -> list[tuple[int, int]]:
    """(x, y) of the middle of every thing, in the order of the scene."""
    found = [centre(thing.place, thing.size, width, height) for thing in scene.things]
    if scene.bond:
        host, guest = scene.things[:2]
        before = scene.bond == BEFORE
        found[1] = in_front(host.place, host.size, guest.size, width, height) if before else found[0]
    return found


def boxes(scene: Scene) -> list[Box]:
    """(left, top, right, bottom) of every thing in a square picture of `SIDE` pixels."""
    middles = zip(centres(scene), (RADII[thing.size] for thing in scene.things), strict=True)
    return [(x - r, y - r, x + r, y + r) for (x, y), r in middles]


def is_clear(scene: Scene) -> bool:
    """Whether no two things touch, other than those that a bond puts together."""
    found = boxes(scene)
    pairs = ((a, b) for b in range(len(found)) for a in range(b) if not (scene.bond and b == 1))
    return all(apart(found[a], found[b]) for a, b in pairs)


def apart(one: Box, other: Box) -> bool:
    """Whether there is a gap between two boxes."""
    return one[2] + GAP <= other[0] or other[2] + GAP <= one[0] or one[3] + GAP <= other[1] or other[3] + GAP <= one[1]
