"""Where things might be: outlines of every kind and size, slid over what the ground does not explain."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import RADII
from llmga.toyworld.world.templates import template

HALF = 2  # pixels are merged by so many for the search
PAD = 28  # a search picture grows by this much, so that outlines do not wrap around


class Candidate(NamedTuple):
    """An outline at a place, in pixels; `gain` is what it covers of the unexplained less what it covers else."""

    gain: float
    kind: str
    size: str
    x: int
    y: int


@cache
def outlines() -> tuple[tuple[str, str], ...]:
    """(kind, size) of every outline, in the order of the tables below."""
    return tuple((kind, size) for size in RADII for kind in KINDS)


def halved(mask: np.ndarray) -> np.ndarray:
    """The means of all squares of two by two pixels; an odd last row or column is left out."""
    height, width = (length // HALF * HALF for length in mask.shape)
    return mask[:height, :width].reshape(height // HALF, HALF, width // HALF, HALF).mean((1, 3))


@cache
def _spectra(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Conjugate spectra of all outlines for pictures of this size, and their areas (n,)."""
    planes = np.zeros((len(outlines()), height + PAD, width + PAD), np.float32)
    for plane, (kind, size) in zip(planes, outlines(), strict=True):
        _centre(plane, halved(_outline(kind, size)))
    return np.fft.rfft2(planes).conj().astype(np.complex64), planes.sum((1, 2))


def _outline(kind: str, size: str) -> np.ndarray:
    """(n, n): between a thing with a line around it and one without."""
    styles = [template(kind, RADII[size], "plain", style).sum(0) for style in ("flat", "outlined")]
    return (styles[0] + styles[1]) / 2


def _centre(plane: np.ndarray, patch: np.ndarray) -> None:
    """Put a patch into the corner of a plane so that its middle is the origin, wrapped around."""
    side = patch.shape[0]
    plane[:side, :side] = patch
    plane[:] = np.roll(plane, (-(side // 2), -(side // 2)), (0, 1))


def candidates(unexplained: np.ndarray, count: int) -> Iterator[Candidate]:
    """The outlines that explain most, best first; no two of the same kind and size.

    Args:
        unexplained: (height, width) in [0, 1], what is to be covered.
        count: how many.
    """
    small = halved(unexplained)
    height, width = small.shape
    shape = (height + PAD, width + PAD)
    spectra, areas = _spectra(height, width)
    seen = np.fft.rfft2(small.astype(np.float32), shape)
    shared = np.fft.irfft2(seen * spectra, shape)[:, :height, :width].reshape(len(areas), -1)
    best = shared.argmax(1)
    gains = 2 * shared[np.arange(len(areas)), best] - areas
    for number in np.argsort(-gains)[:count]:
        kind, size = outlines()[number]
        y, x = divmod(int(best[number]), width)
        odd = template(kind, RADII[size], "plain", "flat").shape[-1] // HALF % 2  # whose middle is within a square
        yield Candidate(float(HALF**2 * gains[number]), kind, size, x * HALF + odd, y * HALF + odd)
