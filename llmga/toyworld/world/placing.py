"""Where the things that were found stand, by the names of places and bonds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from llmga.toyworld.world.fitting import Fit
from llmga.toyworld.world.layout import INSIDE, RADII, centre, in_front
from llmga.toyworld.world.scene import BONDS, PLACES, Thing

NEAR = 5.0  # pixels by which a thing may be off from where its host puts it


@dataclass(frozen=True)
class Seen:
    """A thing that was seen; `x`, `y` is its middle in pixels of a picture whose shorter side is `SIDE`."""

    thing: Thing
    x: int
    y: int


def placed(fits: Sequence[Fit], width: int, height: int) -> tuple[tuple[Seen, ...], str]:
    """Things with the names of their places, in the order of a scene, and the bond of the first two."""
    places = [_place(fit, width, height) for fit in fits]
    for (back, front), bond in _bonds(fits, width, height):
        order = [back, front, *sorted((n for n in range(len(fits)) if n not in (back, front)),
                                      key=lambda n: PLACES.index(places[n]))]  # fmt: skip
        places[front] = places[back]
        return tuple(_seen(fits[n], places[n]) for n in order), bond
    order = sorted(range(len(fits)), key=lambda n: PLACES.index(places[n]))
    return tuple(_seen(fits[n], places[n]) for n in order), ""


def _bonds(fits: Sequence[Fit], width: int, height: int) -> Iterator[tuple[tuple[int, int], str]]:
    """(host, guest) and their bond; what is inside a ring may have been found before the ring."""
    for back, front in permutations(range(len(fits)), 2):
        host, guest = fits[back], fits[front]
        if RADII[guest.size] >= RADII[host.size]:
            continue
        for bond, (x, y) in zip(BONDS, _expected(host, guest, width, height), strict=True):
            if max(abs(guest.x - x), abs(guest.y - y)) <= NEAR and (back < front or bond == INSIDE):
                yield (back, front), bond


def _expected(host: Fit, guest: Fit, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a guest inside its host would be, and where one in front of it."""
    place = _place(host, width, height)
    x, y = centre(place, host.size, width, height)
    front_x, front_y = in_front(place, host.size, guest.size, width, height)
    return (host.x, host.y), (front_x + host.x - x, front_y + host.y - y)


def _place(fit: Fit, width: int, height: int) -> str:
    def far(place: str) -> float:
        x, y = centre(place, fit.size, width, height)
        return (fit.x - x) ** 2 + (fit.y - y) ** 2

    return min(PLACES, key=far)


def _seen(fit: Fit, place: str) -> Seen:
    return Seen(Thing(fit.kind, fit.colour, fit.size, fit.pattern, place), fit.x, fit.y)
