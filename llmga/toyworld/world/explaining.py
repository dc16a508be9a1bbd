"""All things of a picture and their style: found one after the other, doubted where they explain too little."""

from dataclasses import replace

import numpy as np

from llmga.toyworld.world.finding import MOSTLY, explains, next_thing, uncovered
from llmga.toyworld.world.fitting import Fit, View, drawn
from llmga.toyworld.world.pairs import WELL, is_settled, pair_of, reread
from llmga.toyworld.world.scene import STYLES

SOME = 0.33  # share of the error under a thing that it must explain at first: most of a host may be covered
MOST = 5  # things that are looked for: more than a scene can hold, so that one too many is seen


def things_in(pixels: np.ndarray, background: np.ndarray, light: bool) -> tuple[str, list[Fit]]:
    """The style, and the things from back to front."""
    fits: list[Fit] = []
    votes = dict.fromkeys(STYLES, 0.0)
    while len(fits) < MOST:
        view = View(pixels, drawn(background, fits, light), light)
        looks = next_thing(view)
        if not looks:
            break
        if explains(view, looks[0], MOSTLY):
            fits = reread(pixels, background, light, [*fits, looks[0]])
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
    below = View(view.picture, background, view.light, uncovered(view.picture.shape[:2], fits))
    hidden = next_thing(below) if fits else []
    if hidden and hidden[0].gain > looks[0].gain and explains(below, hidden[0], MOSTLY):
        return hidden, [hidden[0], *fits]
    pair = pair_of(view, looks[0])
    if pair:
        both = [*fits, *pair]
        return list(pair), both if is_settled(view, pair) else reread(view.picture, background, view.light, both)
    if hidden and hidden[0].gain > looks[0].gain and explains(below, hidden[0], SOME):
        return hidden, [hidden[0], *fits]
    if explains(view, looks[0], SOME):
        return looks, reread(view.picture, background, view.light, [*fits, looks[0]])
    return [], fits


def _held(pixels: np.ndarray, background: np.ndarray, light: bool, fits: list[Fit]) -> list[Fit]:
    """The things without which the picture would be explained less well."""
    kept = list(fits)
    for fit in fits:
        others = [other for other in kept if other is not fit]
        in_front = kept[kept.index(fit) + 1 :]
        view = View(pixels, drawn(background, others, light), light, uncovered(pixels.shape[:2], in_front))
        if not explains(view, replace(fit, gain=view.gain(fit)), WELL):
            kept.remove(fit)
    return kept
