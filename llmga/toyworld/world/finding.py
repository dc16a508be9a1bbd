"""One thing after the other: the outline that fits what is left, in the look that explains most of it."""

from collections.abc import Sequence

import numpy as np

from llmga.toyworld.world.drawing import stamp
from llmga.toyworld.world.fitting import Fit, View
from llmga.toyworld.world.layout import RADII
from llmga.toyworld.world.looks import looks_of
from llmga.toyworld.world.search import candidates

UNEXPLAINED = 30.0  # colour distance from which there is something
FEWEST = 24.0  # pixels that a thing must explain
MOSTLY = 0.75  # share of the error under a thing from which nothing better is looked for
FAINT = 2.0  # times what it covers of a pixel, a thing hides of what is behind it
OUTLINES, MORE_OUTLINES = 6, 24  # that are tried for one thing, and when these do not explain it


def next_thing(view: View, near: Fit | None = None) -> list[Fit]:
    """The thing that explains most of what is left, or left near another, in every style; empty when nothing is."""
    unexplained = unexplained_in(view)
    if near:
        unexplained = unexplained * around(near, unexplained.shape)
    if unexplained.sum() < FEWEST:
        return []
    found = candidates(unexplained, MORE_OUTLINES, view.hidden)
    if max(candidate.gain for candidate in found) < FEWEST:
        return []
    places = [Fit(c.kind, c.size, c.x, c.y) for c in found]
    looks = looks_of(view, places[:OUTLINES])
    if explains(view, looks[0], MOSTLY):
        return looks
    return max(looks, looks_of(view, places[OUTLINES:]), key=lambda best: best[0].gain)


def around(fit: Fit, shape: tuple[int, ...]) -> np.ndarray:
    """float32 (height, width): 1 where something can be that overlaps a thing, 0 elsewhere."""
    reach = round(2 * RADII[fit.size])
    mask = np.zeros(shape, np.float32)
    mask[max(fit.y - reach, 0) : fit.y + reach, max(fit.x - reach, 0) : fit.x + reach] = 1
    return mask


def explains(view: View, fit: Fit, share: float) -> bool:
    """Whether a thing takes away a share of the error that it covers and that it would leave, and enough."""
    return fit.gain >= max(FEWEST, share * view.promise(fit))


def unexplained_in(view: View) -> np.ndarray:
    """(height, width), 0 to 1: how surely something is there that is not drawn yet."""
    off = view.picture - view.behind
    return view.weights * np.clip(np.sqrt(np.einsum("yxc,yxc->yx", off, off)) / UNEXPLAINED - 0.5, 0, 1)


def uncovered(shape: tuple[int, ...], fits: Sequence[Fit]) -> np.ndarray:
    """float32 (height, width): 0 where things are, be it as a pale wash, and 1 elsewhere."""
    mask = np.ones((*shape, 1), np.float32)
    for fit in fits:
        touched = np.minimum(FAINT * fit.covers.sum(0, keepdims=True), 1)
        stamp(mask, touched, np.zeros((1, 1), np.float32), (fit.x, fit.y))
    return mask[..., 0]
