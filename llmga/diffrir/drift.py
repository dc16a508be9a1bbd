"""Colours that drift from place to place: the slow field by which a painting is off, guessed where nothing is kept.

What the kept region shows is averaged over coarse cells and carried into the hole by Gaussian process regression
(kriging): near the kept region it is followed, far from it the guess returns to "no drift", and how far is read from
the picture itself, by the likelihood of each length.
"""

import numpy as np
import torch
import torch.nn.functional as F

CELLS = 20  # along the longer side, unless they would be smaller than
SMALLEST = 8  # pixels a side
LENGTHS = (0.1, 0.2, 0.35, 0.7)  # over which drifts keep their colour, as shares of the longer side
ENOUGH = 0.2  # share of a cell that has to be kept for it to count
ALIKE = 25  # neighbouring pixels that are off by about the same, so that they count as one
ROUNDING = 0.05  # variance of a mean that even whole levels have
FEWEST = 4  # cells that say something of a drift


def drift(residual: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The slow part of a difference, everywhere.

    Args:
        residual: (height, width, channels) in levels of 0 to 255, read where kept only.
        kept: boolean (height, width).
    Returns: (height, width, channels), float32; zero when too little is kept to tell.
    """
    places, means, noise, shape = _cells(residual, kept)
    if len(places) < FEWEST:
        return np.zeros(residual.shape, np.float32)
    power = max(float(means.var(0).mean() - noise.mean()), 0.0)
    lengths = (share * max(shape) for share in LENGTHS)
    length = max(lengths, key=lambda each: _likelihood(power * _likeness(places, places, each), means, noise))
    grid = np.stack(np.meshgrid(*(np.arange(side) + 0.5 for side in shape), indexing="ij"), -1).reshape(-1, 2)
    among = power * _likeness(places, places, length) + np.diag(noise)
    guessed = power * _likeness(grid, places, length) @ np.linalg.solve(among, means)
    return _enlarged(guessed.reshape(*shape, -1), kept.shape)


def _cell(shape: tuple[int, ...]) -> int:
    """Side of a cell in pixels."""
    return max(SMALLEST, -(-max(shape) // CELLS))


def _cells(residual: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Of the cells that are kept: places (n, 2), means (n, channels), variances of the means (n,); rows and columns."""
    side = _cell(kept.shape)
    rows, columns = (-(-length // side) for length in kept.shape)

    def summed(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, [(0, rows * side - len(values)), (0, columns * side - values.shape[1]), (0, 0)])
        return padded.reshape(rows, side, columns, side, -1).sum((1, 3)).reshape(rows * columns, -1)

    count = summed(kept[..., None].astype(np.float64))
    own = residual * kept[..., None]
    mean = summed(own) / np.maximum(count, 1)
    variance = summed(own**2) / np.maximum(count, 1) - mean**2
    used = count[:, 0] >= ENOUGH * side**2
    noise = (variance.mean(-1) * ALIKE / np.maximum(count[:, 0], 1) + ROUNDING)[used]
    places = np.stack(np.divmod(np.arange(rows * columns), columns), -1)[used] + 0.5
    return places, mean[used], noise, (rows, columns)


def _likeness(some: np.ndarray, others: np.ndarray, length: float) -> np.ndarray:
    """Correlation of the drift between places, (n, m); all in cells."""
    distance = ((some[:, None] - others[None]) ** 2).sum(-1)
    return np.exp(-distance / (2 * length**2))


def _likelihood(drift: np.ndarray, means: np.ndarray, noise: np.ndarray) -> float:
    """Log of how likely the cells' means are, given the drift's covariance (n, n)."""
    lower = np.linalg.cholesky(drift + np.diag(noise))
    white = np.linalg.solve(lower, means)
    return -float((white**2).sum()) / 2 - means.shape[1] * float(np.log(np.diag(lower)).sum())


def _enlarged(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """From cells to pixels, smoothly."""
    coarse = torch.from_numpy(np.moveaxis(field, -1, 0).astype(np.float32))[None]
    fine = F.interpolate(coarse, scale_factor=_cell(shape), mode="bicubic", align_corners=False)[0].numpy()
    return np.moveaxis(fine, 0, -1)[: shape[0], : shape[1]]
