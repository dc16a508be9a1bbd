"""Regions that stage 2 hides from an inpainting model while it learns to fill them."""

from collections.abc import Callable
from functools import partial

import numpy as np

from llmga import masks

NARROWEST = 0.25  # of a strip outpainting grows by, as a share of the side; stage 1 takes wider ones
KINDS: dict[str, Callable[..., np.ndarray]] = {
    "irregular": masks.irregular,
    "box": masks.box,
    "outpaint": partial(masks.outpaint, narrowest=NARROWEST),
}


def hole(size: tuple[int, int], rng: np.random.Generator, *, whole: float = 0.25, scale: float = 1.0) -> np.ndarray:
    """A random region of a picture, by the published mixture: 1/4 strokes, 1/4 boxes, 1/2 outpainted sides.

    Args:
        size: (width, height) in pixels; holes cover the same share of every size.
        rng: decides on kind, place and size.
        whole: how often everything is hidden, so that the model goes on painting from words.
        scale: how much larger than published strokes and boxes are, at least 1 to about 2.

    Returns:
        bool (height, width), True is hidden.
    """
    kind = str(rng.choice(list(masks.PROBABILITIES), p=list(masks.PROBABILITIES.values())))
    larger = {} if kind == "outpaint" else {"side": round(masks.REFERENCE / scale)}
    drawn = KINDS[kind](size, rng, **larger)
    return np.ones_like(drawn) if rng.random() < whole else drawn
