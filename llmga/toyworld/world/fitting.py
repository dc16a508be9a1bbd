"""How well a thing explains a part of a picture: drawn there, and compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from llmga.toyworld.world.colours import COLOURS, palette
from llmga.toyworld.world.drawing import stamp
from llmga.toyworld.world.layout import RADII
from llmga.toyworld.world.scene import PATTERNS, STYLES
from llmga.toyworld.world.templates import template

FARTHEST = 80.0  # colour distance from which a pixel is plainly wrong, and no more wrong the farther it is
COARSE = 2  # every so many pixels are compared when all patterns, styles and colours are tried


@dataclass(frozen=True)
class Fit:
    """A thing in a picture.

    Attributes:
        x, y: its middle, in pixels.
        gain: how much of the squared error it takes away, in pixels that are plainly wrong.
    """

    kind: str
    size: str
    x: int
    y: int
    pattern: str = "plain"
    style: str = "flat"
    colour: str = "red"
    gain: float = 0.0

    @property
    def covers(self) -> np.ndarray:
        """(roles, n, n), see `templates.template`; a little blurred."""
        return soft_template(self.kind, self.size, self.pattern, self.style)


def softened(picture: np.ndarray, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
    """Every pixel with a part of its neighbours, so that crisp edges and blurred ones compare alike."""
    for axis in axes:
        last = picture.shape[axis] - 1
        at = np.arange(last + 1)
        before, after = (picture.take(np.clip(at + step, 0, last), axis) for step in (-1, 1))
        picture = 0.5 * picture + 0.25 * (before + after)
    return picture


@cache
def soft_template(kind: str, size: str, pattern: str, style: str) -> np.ndarray:
    """(roles, n, n): a template, softened as pictures are."""
    return softened(template(kind, RADII[size], pattern, style), (1, 2))


class View:
    """A picture, what is drawn of it so far, and which of its pixels count.

    Attributes:
        picture, behind: float32 (height, width, 3).
        weights: float32 (height, width): 0 where something else is in front.
        hidden: the same, None where nothing is.
        light: whether the ground is light, which decides the colour of lines.
    """

    def __init__(self, picture: np.ndarray, behind: np.ndarray, light: bool, weights: np.ndarray | None = None):
        self.picture, self.behind, self.light = picture, behind, light
        self.weights = np.ones(picture.shape[:2], np.float32) if weights is None else weights
        self.hidden = weights
        self.error = self.weights * truncated(picture - behind)

    def window(self, fit: Fit) -> tuple[slice, slice, slice, slice]:
        """Rows and columns of the picture that a thing's template meets, then those of the template."""
        height, width = self.picture.shape[:2]
        side = fit.covers.shape[-1]
        top, left = fit.y - side // 2, fit.x - side // 2
        y0, y1 = max(top, 0), max(min(top + side, height), 0)
        x0, x1 = max(left, 0), max(min(left + side, width), 0)
        return slice(y0, y1), slice(x0, x1), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)

    def gain(self, fit: Fit) -> float:
        """How much of the error a thing takes away."""
        rows, columns, drawn = self._drawn(fit)
        after = self.weights[rows, columns] * truncated(self.picture[rows, columns] - drawn)
        return float(self.error[rows, columns].sum() - after.sum())

    def promise(self, fit: Fit) -> float:
        """How much a thing would take away if it were there exactly, or what is under it if that is more."""
        rows, columns, drawn = self._drawn(fit)
        would = self.weights[rows, columns] * truncated(self.behind[rows, columns] - drawn)
        _, _, inner_rows, inner_columns = self.window(fit)
        under = self.error[rows, columns] * fit.covers[:, inner_rows, inner_columns].sum(0)
        return float(max(would.sum(), under.sum()))

    def _drawn(self, fit: Fit) -> tuple[slice, slice, np.ndarray]:
        """Rows and columns of the picture, and what a thing makes of them."""
        rows, columns, inner_rows, inner_columns = self.window(fit)
        covers, rest = _last(fit.kind, fit.size, fit.pattern, fit.style)
        behind = self.behind[rows, columns] * rest[inner_rows, inner_columns]
        return rows, columns, behind + covers[inner_rows, inner_columns] @ palette(fit.colour, self.light)

    def looks(self, fit: Fit) -> np.ndarray:
        """(patterns, styles, colours): the gain of every look of one kind and size at one place, coarsely."""
        rows, columns, inner_rows, inner_columns = self.window(fit)
        rows, columns, inner_rows, inner_columns = (
            slice(part.start, part.stop, COARSE) for part in (rows, columns, inner_rows, inner_columns)
        )
        covers = _stack(fit.kind, fit.size)[..., inner_rows, inner_columns]
        covers = covers.reshape(len(PATTERNS) * len(STYLES), covers.shape[2], -1).transpose(0, 2, 1)
        behind = self.behind[rows, columns].reshape(-1, 3)
        off = self.picture[rows, columns].reshape(-1, 3) - behind
        covered = covers.sum(-1)
        squared: np.ndarray | float = 0.0
        for channel, colours in enumerate(_colours(self.light)):
            rest = off[:, channel] + covered * behind[:, channel]  # picture - behind * (1 - covers)
            squared = squared + np.square(rest[..., None] - covers @ colours)  # (looks, pixels, colours)
        after = self.weights[rows, columns].ravel() @ np.minimum(squared / FARTHEST**2, 1)
        gains = self.error[rows, columns].sum() - after
        return (COARSE**2 * gains).reshape(len(PATTERNS), len(STYLES), len(COLOURS))


def truncated(difference: np.ndarray) -> np.ndarray:
    """(…): squared colour distance, 0 to 1, where 1 is plainly wrong."""
    red, green, blue = (np.square(difference[..., channel]) for channel in range(3))
    return np.minimum((red + green + blue) / FARTHEST**2, 1)


@cache
def _last(kind: str, size: str, pattern: str, style: str) -> tuple[np.ndarray, np.ndarray]:
    """A template with the roles last (n, n, roles), and what it leaves of the ground (n, n, 1)."""
    covers = soft_template(kind, size, pattern, style)
    return np.ascontiguousarray(covers.transpose(1, 2, 0)), 1 - covers.sum(0)[..., None]


@cache
def _stack(kind: str, size: str) -> np.ndarray:
    """(patterns, styles, roles, n, n): all templates of a kind and size."""
    return np.stack([[soft_template(kind, size, pattern, style) for style in STYLES] for pattern in PATTERNS])


@cache
def _colours(light: bool) -> np.ndarray:
    """(channels, roles, colours)."""
    return np.stack([palette(name, light) for name in COLOURS], axis=-1).transpose(1, 0, 2).copy()


def drawn(behind: np.ndarray, fits: Sequence[Fit], light: bool) -> np.ndarray:
    """A copy of `behind` with things on it, in order."""
    picture = behind.copy()
    for fit in fits:
        stamp(picture, fit.covers, palette(fit.colour, light), (fit.x, fit.y))
    return picture
