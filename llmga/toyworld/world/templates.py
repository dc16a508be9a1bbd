"""How one thing looks, apart from its colour: for every role, how much of each pixel it covers.

A thing is drawn large, every pixel labelled with the role that shows there, and reduced.  What comes out is linear: a
picture with the thing is `ground * (1 - sum of covers) + sum of covers * colours`.
"""

import math
from functools import cache
from zlib import crc32

import numpy as np
from PIL import Image, ImageDraw

from llmga.toyworld.world.colours import ROLES
from llmga.toyworld.world.kinds import KINDS

FINE = 4  # drawn this many times larger at the world's own size
EDGE = 3  # pixels around the half extent that a template has to spare, in 96ths
STRIPES = (9.0, 4.0)  # period and width of the second colour, in 96ths
DOTS = (9.0, 2.5)  # distance and radius
LINE, SKETCHED_LINE = 1.9, 1.7  # thickness, in 96ths; the middle of a line is the thing's edge
WASH, DETAIL = 0.68, 0.85  # how much of the ground the colours and the details of a sketch cover
TREMBLE = (0.024, 0.8)  # how far a sketched line goes astray, and the length of its waves, in radii

NOTHING = 0
_LABELS = {"hole": NOTHING} | {role: number for number, role in enumerate(ROLES, 1)}


def _labels(kind: str, middle: float, radius: float) -> np.ndarray:
    """uint8 (n, n): which role shows where, before pattern and line."""
    canvas = Image.new("L", (round(2 * middle),) * 2, NOTHING)
    pen = ImageDraw.Draw(canvas)
    for part in KINDS[kind]:
        corners = [(middle + radius * x - 0.5, middle + radius * y - 0.5) for x, y in part.outline]
        pen.polygon(corners, fill=_LABELS[part.role])
    return np.array(canvas)


def _trembling(labels: np.ndarray, radius: float, seed: int) -> np.ndarray:
    """The labels, shifted here and there as by an unsteady hand."""
    far, period = TREMBLE[0] * radius, TREMBLE[1] * radius
    y, x = np.indices(labels.shape)
    phase = 2 * math.pi * np.random.default_rng(seed).random(4)
    turn = 2 * math.pi / period
    aside = np.sin(turn * y + phase[0]) + 0.6 * np.sin(1.7 * turn * x + phase[1])
    down = np.sin(turn * x + phase[2]) + 0.6 * np.sin(1.7 * turn * y + phase[3])
    last = len(labels) - 1
    return labels[np.clip(y + far * down, 0, last).astype(int), np.clip(x + far * aside, 0, last).astype(int)]


def _pattern(name: str, n: int, scale: float) -> np.ndarray:
    """bool (n, n): where the second colour is."""
    v, u = (np.indices((n, n)) + 0.5 - n / 2) / scale
    if name == "striped":
        period, width = STRIPES
        return ((u + v) / math.sqrt(2) + width / 2) % period < width
    if name == "dotted":
        distance, radius = DOTS
        row = np.round(v / distance)
        across = (u - row * distance / 2 + distance / 2) % distance - distance / 2
        return np.hypot(across, v - row * distance) < radius
    return np.zeros((n, n), bool)


def _line(labels: np.ndarray, thick: float) -> np.ndarray:
    """bool (n, n): along the edge of the thing, one half inside, one half outside."""
    inside = labels != NOTHING
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= inside[1:] != inside[:-1]
    edge[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    return _grown(edge, round(thick / 2))


def _grown(mask: np.ndarray, steps: int) -> np.ndarray:
    """The mask, widened by so many pixels, by a square and a cross in turn, which is nearly a circle."""
    for step in range(steps):
        wider = mask.copy()
        wider[1:] |= mask[:-1]
        wider[:-1] |= mask[1:]
        tall = wider.copy() if step % 2 else mask
        wider[:, 1:] |= tall[:, :-1]
        wider[:, :-1] |= tall[:, 1:]
        mask = wider
    return mask


@cache
def template(kind: str, radius: float, pattern: str, style: str, scale: float = 1.0) -> np.ndarray:
    """float32 (roles, n, n) in [0, 1]: how much of each pixel every role covers; the thing's middle is the middle.

    Args:
        radius: half extent of the thing in pixels.
        scale: pixels in a 96th of the shorter side of the picture, for lines and patterns.
    """
    side = 2 * math.ceil(radius + EDGE * scale)
    fine = max(2, math.ceil(FINE / scale))
    labels = _labels(kind, side * fine / 2, radius * fine)
    if style == "sketched":
        labels = _trembling(labels, radius * fine, crc32(kind.encode()))
    covers = np.zeros((len(ROLES), *labels.shape), np.float32)
    alt = _pattern(pattern, len(labels), scale * fine)
    for label in _LABELS.values():
        if label:
            covers[label - 1] = labels == label
    covers[1], covers[0] = covers[0] * alt, covers[0] * ~alt
    if style == "outlined":
        _draw_line(covers, _line(labels, LINE * scale * fine), {"ink": 1.0})
    elif style == "sketched":
        covers[:2] *= WASH
        covers[2:] *= DETAIL
        _draw_line(covers, _line(labels, SKETCHED_LINE * scale * fine), {"main": 0.5, "dark": 0.5})
    small = covers.reshape(len(ROLES), side, fine, side, fine).mean((2, 4))
    small.flags.writeable = False
    return small


def _draw_line(covers: np.ndarray, line: np.ndarray, mixed: dict[str, float]) -> None:
    """Replace what is there by a line mixed of some roles."""
    covers *= ~line
    for role, share in mixed.items():
        covers[ROLES.index(role)] += share * line
