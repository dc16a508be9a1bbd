"""Where things might be: outlines of every kind and size, slid over what the ground does not explain."""

from functools import cache
from typing import NamedTuple

import numpy as np

from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import RADII
from llmga.toyworld.world.templates import template

HALF = 2  # pixels are merged by so many for the search
WITH_LINE_OR_WITHOUT = ("outlined", "flat")
PAD = 16  # a search picture grows by this much, so that outlines do not wrap around


class Candidate(NamedTuple):
    """An outline at a place, in pixels; `gain` is what it covers of the unexplained less what it covers else."""

    gain: float
    kind: str
    size: str
    x: int
    y: int


@cache
def outlines() -> tuple[tuple[str, str, str], ...]:
    """(kind, size, style) of every outline, in the order of the tables below."""
    return tuple((kind, size, style) for kind in KINDS for size in RADII for style in WITH_LINE_OR_WITHOUT)


def halved(mask: np.ndarray) -> np.ndarray:
    """The means of all squares of two by two pixels; an odd last row or column is left out."""
    height, width = (length // HALF * HALF for length in mask.shape)
    return mask[:height, :width].reshape(height // HALF, HALF, width // HALF, HALF).mean((1, 3))


@cache
def _spectra(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Conjugate spectra of all outlines for pictures of this size, and their areas (n,)."""
    planes = np.zeros((len(outlines()), height + PAD, width + PAD), np.float32)
    for plane, (kind, size, style) in zip(planes, outlines(), strict=True):
        _centre(plane, halved(template(kind, RADII[size], "plain", style).sum(0)))
    return np.fft.rfft2(planes).conj().astype(np.complex64), planes.sum((1, 2))


def _centre(plane: np.ndarray, patch: np.ndarray) -> None:
    """Put a patch into the corner of a plane so that its middle is the origin, wrapped around."""
    side = patch.shape[0]
    plane[:side, :side] = patch
    plane[:] = np.roll(plane, (-(side // 2), -(side // 2)), (0, 1))


def candidates(unexplained: np.ndarray, count: int, weights: np.ndarray | None = None) -> list[Candidate]:
    """The outlines that explain most, best first; no two of the same kind and size.

    Args:
        unexplained: (height, width) in [0, 1], what is to be covered.
        count: how many.
        weights: (height, width), 0 where something is in front, so that nothing is known.
    """
    known = np.ones_like(unexplained) if weights is None else weights
    gains, places = _slide(halved(unexplained * known), None if weights is None else halved(known))
    chosen = _best_of_each(gains)[:count]
    worth = _padded(2 * unexplained * known - known)
    return [_refined(worth, *outlines()[number], *places[number]) for number in chosen]


def _slide(small: np.ndarray, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Of every outline the gain at its best place (n,), in merged pixels, and that place (n, 2) as (x, y)."""
    height, width = small.shape
    shape = (height + PAD, width + PAD)
    spectra, areas = _spectra(height, width)

    def slid(mask: np.ndarray) -> np.ndarray:
        seen = np.fft.rfft2(mask.astype(np.float32), shape)
        return np.fft.irfft2(seen * spectra, shape)[:, :height, :width].reshape(len(areas), -1)

    gains = 2 * slid(small) - areas[:, None] if known is None else slid(2 * small - known)
    best = gains.argmax(1)
    return gains[np.arange(len(areas)), best], np.stack([best % width, best // width], 1)


def _best_of_each(gains: np.ndarray) -> np.ndarray:
    """The numbers of the outlines, one per kind and size, best first."""
    pairs = gains.reshape(-1, len(WITH_LINE_OR_WITHOUT))
    best = pairs.argmax(1) + len(WITH_LINE_OR_WITHOUT) * np.arange(len(pairs))
    return best[np.argsort(-gains[best])]


ROOM = 40  # that a picture grows by on every side, so that outlines may stand out of it


def _padded(worth: np.ndarray) -> np.ndarray:
    """What a covered pixel is worth, around a picture nothing."""
    return np.pad(worth, ROOM)


def _refined(worth: np.ndarray, kind: str, size: str, style: str, x: int, y: int) -> Candidate:
    """A place found among merged pixels, to the pixel."""
    outline = template(kind, RADII[size], "plain", style).sum(0)
    side, near = len(outline), 2
    odd = side // HALF % 2  # the middle of the outline is then within a merged pixel
    left, top = (HALF * at + odd - side // 2 - near + ROOM for at in (x, y))
    part = worth[top : top + side + 2 * near, left : left + side + 2 * near]
    gains = np.einsum("yxij,ij->yx", np.lib.stride_tricks.sliding_window_view(part, outline.shape), outline)
    down, right = divmod(int(gains.argmax()), gains.shape[1])
    middle = side // 2 - ROOM
    return Candidate(float(gains.max()), kind, size, int(left + right + middle), int(top + down + middle))
