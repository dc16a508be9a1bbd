"""Colours that drift from place to place: the slow field by which a painting is off, guessed where nothing is kept.

What the kept region shows is averaged over coarse cells and carried into the hole by Gaussian process regression
(kriging): near the kept region it is followed, far from it the guess returns to "no drift", and how far is read from
the picture itself, by the likelihood of each length.  A tone may be fitted with it, by generalised least squares, which
tells a tone from a drift that happens to go with the picture's light.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F

CELLS = 20  # along the longer side, unless they would be smaller than
SMALLEST = 8  # pixels a side
LENGTHS = (0.1, 0.2, 0.35, 0.7)  # over which drifts keep their colour, as shares of the longer side
ENOUGH = 0.2  # share of a cell that has to be kept for it to count
ALIKE = 25  # neighbouring pixels that are off by about the same, so that they count as one
ROUNDING = 0.05  # variance of a mean that even whole levels have
CLIPPED = 0.1  # as many as count that may be clipped: what is left of a cell would be chosen by its noise
TILT = 0.2  # standard deviation of gains around 1
TWICE = 2  # rounds of finding how a drift behaves and, by that, a tone


@dataclass(frozen=True)
class Cells:
    """What the kept region shows, coarsely.

    Attributes:
        places: (n, 2) row and column of the cells' middles, in cells.
        painted, known: (n, channels) means.
        count: (n,) pixels; scatter: (n,) variance of the difference of one pixel.
        shape: rows and columns of all cells; side: of one in pixels.
    """

    places: np.ndarray
    painted: np.ndarray
    known: np.ndarray
    count: np.ndarray
    scatter: np.ndarray
    shape: tuple[int, int]
    side: int

    @classmethod
    def of(cls, painted: np.ndarray, known: np.ndarray, residual: np.ndarray, kept: np.ndarray) -> Self:
        """Of pictures (height, width, channels) and what differs in them once the tone is taken out."""
        side = max(SMALLEST, -(-max(kept.shape) // CELLS))
        rows, columns = (-(-length // side) for length in kept.shape)
        clipped = kept & ((painted <= 0) | (painted >= 255)).any(-1)  # says nothing of a tone
        counted = kept & ~clipped
        count, lost = (_summed(marks[..., None].astype(np.float32), side)[:, 0] for marks in (counted, clipped))
        used = (count >= ENOUGH * side**2) & (lost <= CLIPPED * count)
        count = count[used]
        own, truth, off, squares = (
            _summed(values * counted[..., None], side)[used] / count[:, None]
            for values in (painted, known, residual, residual**2)
        )
        scatter = np.maximum(squares - off**2, 0).mean(-1)
        places = np.stack(np.divmod(np.arange(len(used)), columns), -1)[used] + 0.5
        return cls(places, own, truth, count, scatter, (rows, columns), side)

    @property
    def noise(self) -> np.ndarray:
        """(n,) variance of the difference of the means."""
        return self.scatter * ALIKE / self.count + ROUNDING

    def __len__(self) -> int:
        return len(self.places)

    def some(self, which: np.ndarray) -> Self:
        """The cells that a boolean (n,) marks."""
        parts = ("places", "painted", "known", "count", "scatter")
        return replace(self, **{part: getattr(self, part)[which] for part in parts})


def _summed(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over cells, (cells, channels)."""
    rows, columns = (-(-length // side) * side for length in values.shape[:2])
    padded = np.pad(values, [(0, rows - len(values)), (0, columns - values.shape[1]), (0, 0)])
    sums = padded.reshape(rows // side, side, columns // side, side, -1).sum((1, 3), dtype=np.float64)
    return sums.reshape(-1, values.shape[-1])


@dataclass(frozen=True)
class Trend:
    """How a drift behaves: its variance, and the length over which it keeps its colour, in cells."""

    power: float
    length: float

    def covariance(self, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Of the drift at places, (n, m)."""
        distance = ((some[:, None] - others[None]) ** 2).sum(-1)
        return self.power * np.exp(-distance / (2 * self.length**2))


NO_TREND = Trend(0.0, 1.0)


@dataclass(frozen=True)
class Course:
    """How a painting is off: painted = tilt * known + shift + drift.

    The painting is the one that is noisy, so that the known colours, which are not, explain it and not the reverse.

    Attributes:
        tilt, shift: (channels,).
        weights, places: (n, channels) and (n, 2) of cells; the drift is their sum, weighted by covariance.
    """

    tilt: np.ndarray
    shift: np.ndarray
    weights: np.ndarray
    places: np.ndarray
    trend: Trend

    @classmethod
    def of_tone(cls, gain: np.ndarray, bias: np.ndarray) -> Self:
        """Without a drift."""
        return cls(1 / gain, -bias / gain, np.zeros((0, len(gain))), np.zeros((0, 2)), NO_TREND)

    @classmethod
    def fitted(cls, cells: Cells, trend: Trend) -> Self:
        """By generalised least squares; a gain is believed as far as the cells' colours differ."""
        inverse = np.linalg.inv(trend.covariance(cells.places, cells.places) + np.diag(cells.noise))
        beta = np.array([_regressed(inverse, *pair) for pair in zip(cells.painted.T, cells.known.T, strict=True)])
        tilt, shift = beta.T
        return cls(tilt, shift, inverse @ (cells.painted - tilt * cells.known - shift), cells.places, trend)

    def drift(self, places: np.ndarray) -> np.ndarray:
        """(m, channels) at places (m, 2)."""
        return self.trend.covariance(places, self.places) @ self.weights

    def undone(self, painted: np.ndarray, drift: np.ndarray | float) -> np.ndarray:
        """What is known, from what is painted."""
        return (painted - self.shift - drift) / self.tilt


def _regressed(inverse: np.ndarray, painted: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """Tilt and shift, with a gain of 1 expected."""
    middle = known.mean()
    design = np.stack([known - middle, np.ones_like(known)], -1)
    belief = np.diag([1 / TILT**2, 0.0])
    weighted = design.T @ inverse
    tilt, level = np.linalg.solve(weighted @ design + belief, weighted @ painted + belief @ [1.0, 0.0])
    return float(tilt), float(level - tilt * middle)


def trend_of(cells: Cells) -> Trend:
    """The likeliest behaviour of what a tone leaves."""
    trend = NO_TREND
    for _ in range(TWICE):
        course = Course.fitted(cells, trend)
        left = cells.painted - course.tilt * cells.known - course.shift
        trend = _likeliest(left, cells)
    return trend


def _likeliest(left: np.ndarray, cells: Cells) -> Trend:
    power = max(float(left.var(0).mean() - cells.noise.mean()), 0.0)
    trends = [Trend(power, share * max(cells.shape)) for share in LENGTHS]
    return max(trends, key=lambda trend: _likelihood(trend.covariance(cells.places, cells.places), left, cells.noise))


def _likelihood(drift: np.ndarray, means: np.ndarray, noise: np.ndarray) -> float:
    """Log of how likely the cells' means are, given the drift's covariance (n, n)."""
    lower = np.linalg.cholesky(drift + np.diag(noise))
    white = np.linalg.solve(lower, means)
    return -float((white**2).sum()) / 2 - means.shape[1] * float(np.log(np.diag(lower)).sum())


def enlarged(course: Course, cells: Cells, shape: tuple[int, int], step: int = 1) -> np.ndarray:
    """The drift of every pixel, (height, width, channels), float32, smoothly from cell to cell.

    Args:
        step: pixels of the shape for one of the cells' pixels.
    """
    grid = np.stack(np.meshgrid(*(np.arange(side) + 0.5 for side in cells.shape), indexing="ij"), -1).reshape(-1, 2)
    field = course.drift(grid).reshape(*cells.shape, -1)
    coarse = torch.from_numpy(np.moveaxis(field, -1, 0).astype(np.float32))[None]
    fine = F.interpolate(coarse, scale_factor=cells.side * step, mode="bicubic", align_corners=False)[0].numpy()
    return np.moveaxis(fine, 0, -1)[: shape[0], : shape[1]]
