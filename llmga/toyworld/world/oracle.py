"""Reads a picture back into a scene, from pixels alone, and says what it cannot explain.

First the ground that most pixels agree with; then, as long as something is unexplained, the thing that explains most
of it: an outline that fits what is left, drawn in every pattern, style and colour, moved until it fits best.  Then
things that lie on each other are read again, each with the other in its place.  The oracle knows the world's pen and
nothing of the models that paint.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from PIL import Image

from llmga.toyworld.world import grounds
from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.drawing import stamp
from llmga.toyworld.world.fitting import Fit, View, drawn, looks_of, softened, truncated
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import INSIDE, RADII, SIDE, centre, in_front
from llmga.toyworld.world.scene import BONDS, PLACES, STYLES, Scene, Thing
from llmga.toyworld.world.search import candidates

GROUND_FARTHEST = 60.0  # colour distance from which a pixel is no part of a ground
UNEXPLAINED = 30.0  # colour distance from which there is something
FEWEST = 24.0  # pixels that a thing must explain
SOME, WELL = 0.33, 0.5  # least share of the error under a thing that it must explain: at first, and in the end
MOSTLY = 0.65  # share from which nothing better is looked for
PLAINLY = 0.5  # error of a pixel that is not explained
CLEARLY = 3.0  # pixels by which the smaller of two things must explain more from behind
OUTLINES, MORE_OUTLINES = 6, 24  # that are tried for one thing, and when these do not explain it
MOST = 5  # things that are looked for: more than a scene can hold, so that one too many is seen
NEAR = 5.0  # pixels by which a thing may be off from where its host puts it
DEBRIS = 45.0  # distance (of a channel) from all colours around it at which a pixel belongs to nothing
CLEAN = 0.005  # most debris of a picture in which nothing is left over


@dataclass(frozen=True)
class Seen:
    """A thing that was seen; `x`, `y` is its middle in pixels of a picture whose shorter side is `SIDE`."""

    thing: Thing
    x: int
    y: int


@dataclass(frozen=True)
class Reading:
    """What was seen.

    Attributes:
        things: in the order of a scene.
        bond: how the second belongs to the first.
        debris: share of the pixels that belong to nothing, 0 to 1.
    """

    ground: str
    style: str
    things: tuple[Seen, ...]
    bond: str
    debris: float

    @property
    def scene(self) -> Scene | None:
        """The scene, if it is one that can be drawn."""
        try:
            return Scene(self.ground, self.style, tuple(seen.thing for seen in self.things), self.bond)
        except ValueError:
            return None

    @property
    def is_clean(self) -> bool:
        """Whether nearly everything belongs to the ground or to a thing."""
        return self.debris <= CLEAN


def read(picture: Image.Image) -> Reading:
    """What a picture of any size and aspect shows."""
    pixels = _pixels(picture)
    ground = _ground(pixels)
    background = _as_it_is(pixels, softened(grounds.paint(ground, pixels.shape[1], pixels.shape[0])))
    light = grounds.is_light(ground)
    style, fits = _things(pixels, background, light)
    debris = _debris(pixels, drawn(background, fits, light))
    things, bond = _placed(fits, pixels.shape[1], pixels.shape[0])
    return Reading(ground, style, things, bond, debris)


def _pixels(picture: Image.Image) -> np.ndarray:
    """float32 (height, width, 3), softened, the shorter side `SIDE`."""
    scale = SIDE / min(picture.size)
    size = tuple(round(extent * scale) for extent in picture.size)
    small = picture.convert("RGB")
    if small.size != size:
        small = small.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    return softened(np.asarray(small, np.float32))


def _ground(pixels: np.ndarray) -> str:
    height, width = pixels.shape[:2]
    few = pixels[::2, ::2]
    off = [few - grounds.paint(name, width, height)[::2, ::2] for name in GROUNDS]
    errors = [np.minimum(np.einsum("yxc,yxc->yx", d, d), GROUND_FARTHEST**2).sum() for d in off]
    return GROUNDS[int(np.argmin(errors))]


def _as_it_is(pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The ground in the picture's own shade: a painter's colours may be a little off everywhere."""
    off = pixels - background
    ground = np.abs(off).max(-1) < UNEXPLAINED
    return background + np.median(off[ground], axis=0) if ground.any() else background


def _things(pixels: np.ndarray, background: np.ndarray, light: bool) -> tuple[str, list[Fit]]:
    """The style, and the things from back to front."""
    fits: list[Fit] = []
    votes = dict.fromkeys(STYLES, 0.0)
    while len(fits) < MOST:
        view = View(pixels, drawn(background, fits, light), light)
        looks = _next(view)
        if not looks:
            break
        if _explains(view, looks[0], MOSTLY):
            fits = _reread(pixels, background, light, [*fits, looks[0]])
        else:
            looks, fits = _doubtful(view, background, looks, fits)
            if not looks:
                break
        for fit in looks:
            votes[fit.style] += fit.gain
    return max(votes, key=lambda style: votes[style]), _held(pixels, background, light, fits)


def _doubtful(view: View, background: np.ndarray, looks: list[Fit], fits: list[Fit]) -> tuple[list[Fit], list[Fit]]:
    """What to make of a thing that explains too little of what it covers: what was found, and all things with it.

    It may be behind those that are known, or one of a pair of which nothing is known, or indeed something.
    """
    below = View(view.picture, background, view.light, _uncovered(view.picture.shape[:2], fits))
    hidden = _next(below) if fits else []
    if hidden and hidden[0].gain > looks[0].gain and _explains(below, hidden[0], MOSTLY):
        return hidden, [hidden[0], *fits]
    pair = _pair(view, looks[0])
    if pair:
        return list(pair), [*fits, *pair]
    if hidden and hidden[0].gain > looks[0].gain and _explains(below, hidden[0], SOME):
        return hidden, [hidden[0], *fits]
    if _explains(view, looks[0], SOME):
        return looks, _reread(view.picture, background, view.light, [*fits, looks[0]])
    return [], fits


def _next(view: View, near: Fit | None = None) -> list[Fit]:
    """The thing that explains most of what is left, or left near another, in every style; empty when nothing is."""
    unexplained = _unexplained(view)
    if near:
        unexplained = unexplained * _around(near, unexplained.shape)
    if unexplained.sum() < FEWEST:
        return []
    found = candidates(unexplained, MORE_OUTLINES, view.hidden)
    if max(candidate.gain for candidate in found) < FEWEST:
        return []
    places = [Fit(c.kind, c.size, c.x, c.y) for c in found]
    looks = looks_of(view, places[:OUTLINES])
    if _explains(view, looks[0], MOSTLY):
        return looks
    return max(looks, looks_of(view, places[OUTLINES:]), key=lambda best: best[0].gain)


def _around(fit: Fit, shape: tuple[int, ...]) -> np.ndarray:
    """float32 (height, width): 1 where something can be that overlaps a thing, 0 elsewhere."""
    reach = round(2 * RADII[fit.size])
    mask = np.zeros(shape, np.float32)
    mask[max(fit.y - reach, 0) : fit.y + reach, max(fit.x - reach, 0) : fit.x + reach] = 1
    return mask


def _explains(view: View, fit: Fit, share: float) -> bool:
    """Whether a thing takes away a share of the error that it covers and that it would leave, and enough."""
    return fit.gain >= max(FEWEST, share * view.promise(fit))


def _pair(view: View, fit: Fit) -> tuple[Fit, ...]:
    """A host and its guest, where one thing alone explains too little; empty when two do no better.

    What was found may be the guest, the host, or the host in the colour of its guest.
    """
    found = []
    for host in (fit, _other_colour(view, fit)):
        rest = View(view.picture, drawn(view.behind, [host], view.light), view.light)
        within = [Fit(kind, "small", host.x, host.y) for kind in KINDS] if host.size == "large" else []
        guests = [*_next(rest, near=host)[:1], *(looks_of(rest, within)[:1] if within else [])]
        found += [(host, guest) for guest in guests if _explains(rest, guest, WELL)]
    below = View(view.picture, view.behind, view.light, _uncovered(view.picture.shape[:2], [fit]))
    found += [(host, fit) for host in _next(below, near=fit)[:1] if _explains(below, host, WELL)]
    pairs = [_stacked(view, host, guest) for host, guest in found if _overlap(host, guest)]
    good = [pair for pair in pairs if all(fit.gain >= FEWEST for fit in pair)]
    return min(good, key=lambda pair: _error(view.picture, drawn(view.behind, pair, view.light)), default=())


def _other_colour(view: View, fit: Fit) -> Fit:
    """The same in the colour that explains most of what its own does not."""
    rest = View(view.picture, drawn(view.behind, [fit], view.light), view.light)
    where = View(view.picture, view.behind, view.light, (rest.error > PLAINLY).astype(np.float32))
    others = [replace(fit, colour=name) for name in COLOURS if name != fit.colour]
    return max((replace(other, gain=where.gain(other)) for other in others), key=lambda other: other.gain)


def _unexplained(view: View) -> np.ndarray:
    """(height, width), 0 to 1: how surely something is there that is not drawn yet."""
    off = view.picture - view.behind
    return view.weights * np.clip(np.sqrt(np.einsum("yxc,yxc->yx", off, off)) / UNEXPLAINED - 0.5, 0, 1)


def _held(pixels: np.ndarray, background: np.ndarray, light: bool, fits: list[Fit]) -> list[Fit]:
    """The things without which the picture would be explained less well."""
    kept = list(fits)
    for fit in fits:
        others = [other for other in kept if other is not fit]
        in_front = kept[kept.index(fit) + 1 :]
        view = View(pixels, drawn(background, others, light), light, _uncovered(pixels.shape[:2], in_front))
        if not _explains(view, replace(fit, gain=view.gain(fit)), WELL):
            kept.remove(fit)
    return kept


def _reread(pixels: np.ndarray, background: np.ndarray, light: bool, fits: list[Fit]) -> list[Fit]:
    """The last thing and one that it lies on, read again in both orders, each with the other known."""
    *before, last = fits
    touching = [fit for fit in before if _overlap(fit, last)]
    if not touching:
        return fits
    other = max(touching, key=lambda fit: RADII[fit.size])
    rest = [fit for fit in before if fit is not other]
    view = View(pixels, drawn(background, rest, light), light)
    usual = sorted((other, last), key=lambda fit: -RADII[fit.size])
    orders = [_stacked(view, *pair) for pair in (usual, reversed(usual))]
    orders.append((other, last))
    errors = [_error(pixels, drawn(view.behind, pair, light)) for pair in orders]
    return [*rest, *orders[int(np.argmin(np.add(errors, (0, CLEARLY, CLEARLY))))]]


def _stacked(view: View, back: Fit, front: Fit) -> tuple[Fit, Fit]:
    """Two things, one before the other: each is fitted again with the other known."""
    for _ in range(2):
        uncovered = _uncovered(view.picture.shape[:2], [front])
        back = _again(View(view.picture, view.behind, view.light, uncovered), back)
        front = _again(View(view.picture, drawn(view.behind, [back], view.light), view.light), front)
    return back, front


def _again(view: View, fit: Fit) -> Fit:
    """The best fit that replaces a fit."""
    unexplained = _unexplained(view) * _around(fit, view.weights.shape)
    near = (Fit(c.kind, c.size, c.x, c.y) for c in candidates(unexplained, OUTLINES, view.hidden))
    return looks_of(view, (fit, *near))[0]


def _uncovered(shape: tuple[int, ...], fits: Sequence[Fit]) -> np.ndarray:
    """float32 (height, width): 0 where things are, 1 elsewhere."""
    mask = np.ones((*shape, 1), np.float32)
    for fit in fits:
        stamp(mask, fit.covers.sum(0, keepdims=True), np.zeros((1, 1), np.float32), (fit.x, fit.y))
    return mask[..., 0]


def _overlap(one: Fit, other: Fit) -> bool:
    reach = RADII[one.size] + RADII[other.size] - 3
    return abs(one.x - other.x) < reach and abs(one.y - other.y) < reach


def _error(pixels: np.ndarray, picture: np.ndarray) -> float:
    return float(truncated(pixels - picture).sum())


def _debris(pixels: np.ndarray, picture: np.ndarray, reach: int = 2) -> float:
    """Share of pixels whose colour is far from everything that is drawn within `reach` pixels of them."""
    low, high = picture, picture
    for axis in (0, 1):
        shifted = [(_shifted(low, step, axis), _shifted(high, step, axis)) for step in range(-reach, reach + 1)]
        low = np.minimum.reduce([pair[0] for pair in shifted])
        high = np.maximum.reduce([pair[1] for pair in shifted])
    outside = np.maximum(low - pixels, pixels - high).max(-1)
    return float((outside > DEBRIS).mean())


def _shifted(picture: np.ndarray, step: int, axis: int) -> np.ndarray:
    """The picture moved along an axis, its border repeated."""
    index = np.clip(np.arange(picture.shape[axis]) + step, 0, picture.shape[axis] - 1)
    return picture.take(index, axis)


def _placed(fits: Sequence[Fit], width: int, height: int) -> tuple[tuple[Seen, ...], str]:
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
