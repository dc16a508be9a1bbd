"""A painting in the original's tone and without its drift, as far as the kept region shows that this helps.

The kept region is looked at in coarse cells.  Every way to level is judged by cells that it was not fitted to: to do
nothing, the tone of the pixels, the tone of the cells, that with a slow drift.  The plainest one that does about as
well as the best is taken.
"""

from collections.abc import Callable

import numpy as np

from llmga.diffrir.blending import Box, same_content
from llmga.diffrir.drift import NO_TREND, Cells, Course, enlarged, trend_of
from llmga.diffrir.tone import ENOUGH, Tone, fit_tone

LOOKED_AT = 512  # pixels a side that cells are made of; of larger pictures every second, third … is taken
BLOCK, FOLDS = 3, 4  # cells a side that are left out together, and groups of them that are left out in turn
FEWEST = 4  # cells by which ways are judged
TYPICAL = 0.95  # share of the cells that count: the worst may show another thing
# What is about as good as the best misfit: so many times it, so much more, and this share of what no levelling mends.
TIMES, MORE, UNMENDED = 1.15, 0.05, 0.02
WHOLE: Box = slice(None), slice(None)
NOTHING: Tone = np.ones(3), np.zeros(3)


def levelled(
    painted: np.ndarray, known: np.ndarray, kept: np.ndarray, box: Box = WHOLE, enough: int = ENOUGH
) -> np.ndarray:
    """The painting in a box, (height, width, 3), float32.

    Args:
        painted: (height, width, 3) in levels of 0 to 255.
        known: the original, likewise.
        kept: boolean (height, width), True somewhere.
        box: where a drift is looked for; a tone is looked for everywhere.
        enough: pixels that a fit of the tone looks at.
    """
    kept_pixels = np.flatnonzero(kept)
    kept_pixels = kept_pixels[:: -(-len(kept_pixels) // enough)]
    tone = fit_tone(painted.reshape(-1, 3)[kept_pixels], known.reshape(-1, 3)[kept_pixels], enough)
    wanted = painted[box].astype(np.float32)
    step = -(-max(wanted.shape) // LOOKED_AT)
    own, truth, marks = (values[box][::step, ::step] for values in (painted, known, kept))
    cells = _cells(own, truth, marks, tone)
    course = _chosen(cells, tone)
    drift = enlarged(course, cells, wanted.shape[:2], step) if course.trend.power else np.zeros(1, np.float32)
    return course.undone(wanted, drift).astype(np.float32)


def _cells(painted: np.ndarray, known: np.ndarray, kept: np.ndarray, tone: Tone) -> Cells:
    """Of what is kept and shows the same thing."""
    own, truth = painted.astype(np.float32), known.astype(np.float32)
    residual = (truth - own * tone[0] - tone[1]).astype(np.float32)
    return Cells.of(own, truth, residual, same_content(residual, kept))


def _chosen(cells: Cells, tone: Tone) -> Course:
    """The plainest way that levels cells which it did not see about as well as the best; the tone if none can be
    judged."""
    fold = _folds(cells.places)
    if len(cells) < FEWEST or len(np.unique(fold)) < 2:
        return Course.of_tone(*tone)
    trend = trend_of(cells)
    ways: tuple[Callable[[Cells], Course], ...] = (
        lambda seen: Course.of_tone(*NOTHING),
        lambda seen: Course.of_tone(*tone),
        lambda seen: Course.fitted(seen, NO_TREND),
        lambda seen: Course.fitted(seen, trend),
    )
    misfits = [_misfit(way, cells, fold) for way in ways]
    limit = TIMES * min(misfits) + MORE + UNMENDED * float(np.median(cells.scatter))
    return next(way for way, misfit in zip(ways, misfits, strict=True) if misfit <= limit)(cells)


def _folds(places: np.ndarray) -> np.ndarray:
    """Which group each cell belongs to, (n,)."""
    row, column = (places // BLOCK).astype(int).T
    return (2 * row + column) % FOLDS


def _misfit(way: Callable[[Cells], Course], cells: Cells, fold: np.ndarray) -> float:
    """Mean square by which cells are off that were left out of the fit, beyond what the noise of their pixels makes."""
    square = np.empty(len(cells))
    for number in np.unique(fold):
        out = fold == number
        unseen, course = cells.some(out), way(cells.some(~out))
        error = course.undone(unseen.painted, course.drift(unseen.places)) - unseen.known
        square[out] = (error**2).mean(-1) - unseen.scatter / unseen.count
    return max(float(np.sort(square)[: round(TYPICAL * len(square))].mean()), 0.0)
