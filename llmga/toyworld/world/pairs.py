"""Things that lie on each other: what is seen of the one depends on what the other is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.finding import FEWEST, OUTLINES, around, explains, next_thing, uncovered, unexplained_in
from llmga.toyworld.world.fitting import Fit, View, drawn, truncated
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import RADII
from llmga.toyworld.world.looks import looks_of
from llmga.toyworld.world.search import candidates

WELL = 0.5  # least share of the error under a thing that it must explain
PLAINLY = 0.5  # error of a pixel that is not explained
LITTLE = 15.0  # pixels that two things may leave unexplained: the noise around edges
CLEARLY = 3.0  # pixels by which the smaller of two things must explain more from behind


def pair_of(view: View, fit: Fit) -> tuple[Fit, ...]:
    """A host and its guest, where one thing alone explains too little; empty when two do no better.

    What was found may be the guest, the host, or the host in the colour of its guest.
    """
    found = []
    for host in (fit, _other_colour(view, fit)):
        rest = View(view.picture, drawn(view.behind, [host], view.light), view.light)
        within = [Fit(kind, "small", host.x, host.y) for kind in KINDS] if host.size == "large" else []
        guests = [*next_thing(rest, near=host)[:1], *(looks_of(rest, within)[:1] if within else [])]
        found += [(host, guest) for guest in guests if explains(rest, guest, WELL)]
    below = View(view.picture, view.behind, view.light, uncovered(view.picture.shape[:2], [fit]))
    found += [(host, fit) for host in next_thing(below, near=fit)[:1] if explains(below, host, WELL)]
    best: tuple[Fit, ...] = ()
    for host, guest in sorted(found, key=lambda pair: _left(view, pair)):
        pair = _stacked(view, host, guest) if _overlap(host, guest) else ()
        if pair and min(fit.gain for fit in pair) >= FEWEST and (not best or _left(view, pair) < _left(view, best)):
            best = pair
        if best and _left(view, best) <= LITTLE:
            break
    return best


def is_settled(view: View, pair: Sequence[Fit]) -> bool:
    """Whether two things explain nearly all that is where they are."""
    return _left(view, pair) <= LITTLE


def _left(view: View, pair: Sequence[Fit]) -> float:
    """The error that two things leave where the first is."""
    picture = drawn(view.behind, pair, view.light)
    near = around(pair[0], view.weights.shape)
    return float((near * truncated(view.picture - picture)).sum())


def _other_colour(view: View, fit: Fit) -> Fit:
    """The same in the colour that explains most of what its own does not."""
    rest = View(view.picture, drawn(view.behind, [fit], view.light), view.light)
    where = View(view.picture, view.behind, view.light, (rest.error > PLAINLY).astype(np.float32))
    others = [replace(fit, colour=name) for name in COLOURS if name != fit.colour]
    return max((replace(other, gain=where.gain(other)) for other in others), key=lambda other: other.gain)


def reread(pixels: np.ndarray, background: np.ndarray, light: bool, fits: list[Fit]) -> list[Fit]:
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
        seen = uncovered(view.picture.shape[:2], [front])
        back = _again(View(view.picture, view.behind, view.light, seen), back)
        front = _again(View(view.picture, drawn(view.behind, [back], view.light), view.light), front)
    return back, front


def _again(view: View, fit: Fit) -> Fit:
    """The best fit that replaces a fit."""
    unexplained = unexplained_in(view) * around(fit, view.weights.shape)
    near = (Fit(c.kind, c.size, c.x, c.y) for c in candidates(unexplained, OUTLINES, view.hidden))
    return looks_of(view, (fit, *near))[0]


def _overlap(one: Fit, other: Fit) -> bool:
    reach = RADII[one.size] + RADII[other.size] - 3
    return abs(one.x - other.x) < reach and abs(one.y - other.y) < reach


def _error(pixels: np.ndarray, picture: np.ndarray) -> float:
    return float(truncated(pixels - picture).sum())
