"""Which look of a kind and size explains a part of a picture best: every pattern, style and colour is tried."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.fitting import Fit, View
from llmga.toyworld.world.scene import PATTERNS, STYLES

FINALISTS = 3  # places that are looked at closely
REACH = 3  # steps that a thing is moved at most
AROUND = ((-1, 0), (1, 0), (0, -1), (0, 1))


def settled(view: View, fit: Fit) -> Fit:
    """The fit, moved pixel by pixel to where it explains most."""
    fit = replace(fit, gain=view.gain(fit))
    for _ in range(REACH):
        around = [replace(fit, x=fit.x + dx, y=fit.y + dy) for dx, dy in AROUND]
        better = max((replace(near, gain=view.gain(near)) for near in around), key=lambda near: near.gain)
        if better.gain <= fit.gain:
            break
        fit = better
    return fit


def looks_of(view: View, places: Iterable[Fit]) -> list[Fit]:
    """The best look of kinds and sizes at their places, in every style: three, best first.

    Every place is tried with every look; the best places settle and are tried once more, since patterns are small.
    """
    tried = sorted((_best_look(view, place) for place in places), key=lambda fit: -fit.gain)
    settled_there = {
        (fit.kind, fit.size, fit.x, fit.y): fit for fit in (settled(view, fit) for fit in tried[:FINALISTS])
    }
    best: list[Fit] = []
    gains = {place: view.looks(place) for place in settled_there.values()}
    for number, style in enumerate(STYLES):
        fits = [_named(place, of[:, number], style) for place, of in gains.items()]
        fits = [replace(fit, gain=view.gain(fit)) for fit in fits]
        best.append(settled(view, max(fits, key=lambda fit: fit.gain)))
    return sorted(best, key=lambda fit: -fit.gain)


def _best_look(view: View, place: Fit) -> Fit:
    gains = view.looks(place)
    style = int(gains.max((0, 2)).argmax())
    return _named(place, gains[:, style], STYLES[style])


def _named(place: Fit, gains: np.ndarray, style: str) -> Fit:
    """A place with the look of the largest gain, (patterns, colours)."""
    pattern, colour = divmod(int(gains.argmax()), len(COLOURS))
    return replace(
        place, pattern=PATTERNS[pattern], style=style, colour=tuple(COLOURS)[colour], gain=float(gains.max())
    )
