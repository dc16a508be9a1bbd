"""What can stand in a scene: every kind is a few filled outlines in the square from -1 to 1, y downwards.

A later outline covers an earlier one.  `main` takes the thing's colour and its pattern, `dark` and `light` are details
in shades of it, `hole` cuts through.
"""

import math
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

Point = tuple[float, float]


class Part(NamedTuple):
    """One filled outline: `role` is main, dark, light or hole; `outline` holds its corners."""

    role: str
    outline: Sequence[Point]


def _ellipse(x: float, y: float, wide: float, high: float | None = None, turn: float = 0.0) -> list[Point]:
    """Corners of an ellipse with half axes `wide` and `high`, turned by `turn` radians."""
    high = wide if high is None else high
    turns = (2 * math.pi * k / 72 for k in range(72))
    ovals = ((wide * math.cos(t), high * math.sin(t)) for t in turns)
    return [
        (x + a * math.cos(turn) - b * math.sin(turn), y + a * math.sin(turn) + b * math.cos(turn)) for a, b in ovals
    ]


def _rectangle(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _mirrored(*points: Point) -> list[Point]:
    """The right half of an outline from top to bottom, and its mirror image."""
    return [*points, *((-x, y) for x, y in reversed(points))]


def _star(points: int, inner: float) -> list[Point]:
    radii = cycle((1.0, inner))
    turns = (math.pi * k / points - math.pi / 2 for k in range(2 * points))
    return [(r * math.cos(t), r * math.sin(t) + 0.06) for t, r in zip(turns, radii, strict=False)]


def _heart() -> list[Point]:
    """The classic parametric heart (x = 16 sin^3 t …), scaled to the unit square."""
    turns = (2 * math.pi * k / 96 for k in range(96))
    curve = (
        (16 * math.sin(t) ** 3, 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
        for t in turns
    )
    return [(x / 16.3, -(y + 2.5) / 14.8) for x, y in curve]


def _around(count: int, outline: Sequence[Point]) -> list[list[Point]]:
    """An outline that points upwards, `count` times around the middle."""
    angles = [2 * math.pi * k / count for k in range(count)]
    return [
        [(x * math.cos(a) - y * math.sin(a), x * math.sin(a) + y * math.cos(a)) for x, y in outline] for a in angles
    ]


def _scallops(count: int, depth: float, y: float) -> list[Point]:
    """The lower edge of an umbrella from right to left: arcs that curve upwards."""
    steps = count * 10
    return [(1 - 2 * k / steps, y - depth * abs(math.sin(math.pi * k / 10))) for k in range(steps + 1)]


ARM = 0.36  # half width of the cross's arms
_DOME = [(math.cos(t), math.sin(t)) for t in (math.pi + math.pi * k / 36 for k in range(37))]

KINDS: dict[str, tuple[Part, ...]] = {
    "circle": (Part("main", _ellipse(0, 0, 0.98)),),
    "square": (Part("main", _rectangle(-0.81, -0.81, 0.81, 0.81)),),
    "triangle": (Part("main", [(0, -0.94), (1.0, 0.88), (-1.0, 0.88)]),),
    "star": (Part("main", _star(5, 0.42)),),
    "heart": (Part("main", _heart()),),
    "cross": (
        Part("main", _rectangle(-ARM, -0.98, ARM, 0.98)),
        Part("main", _rectangle(-0.98, -ARM, 0.98, ARM)),
    ),
    "ring": (Part("main", _ellipse(0, 0, 0.99)), Part("hole", _ellipse(0, 0, 0.57))),
    "diamond": (Part("main", _mirrored((0, -0.99), (0.72, 0), (0, 0.99))),),
    "moon": (Part("main", _ellipse(0.06, 0, 0.98)), Part("hole", _ellipse(0.5, -0.12, 0.8))),
    "arrow": (
        Part(
            "main",
            [(-0.98, -0.3), (0.08, -0.3), (0.08, -0.82), (0.99, 0), (0.08, 0.82), (0.08, 0.3), (-0.98, 0.3)],
        ),
    ),
    "sun": (
        *(Part("dark", ray) for ray in _around(8, [(-0.24, -0.5), (0, -1.0), (0.24, -0.5)])),
        Part("main", _ellipse(0, 0, 0.62)),
    ),
    "cloud": (
        Part("main", _ellipse(-0.56, 0.22, 0.42, 0.4)),
        Part("main", _ellipse(-0.12, -0.16, 0.48, 0.46)),
        Part("main", _ellipse(0.46, 0.1, 0.48, 0.46)),
        Part("main", _rectangle(-0.56, 0.1, 0.5, 0.62)),
        Part("main", _ellipse(0.56, 0.24, 0.4, 0.38)),
    ),
    "tree": (
        Part("dark", _rectangle(-0.16, 0.5, 0.16, 0.99)),
        Part("main", _mirrored((0, -0.99), (0.46, -0.3), (0.26, -0.3), (0.66, 0.2), (0.4, 0.2), (0.82, 0.64))),
    ),
    "house": (
        Part("main", _rectangle(-0.72, -0.1, 0.72, 0.94)),
        Part("dark", [(0, -0.96), (0.99, -0.02), (-0.99, -0.02)]),
        Part("dark", _rectangle(-0.5, 0.32, -0.1, 0.94)),
        Part("light", _rectangle(0.14, 0.24, 0.54, 0.62)),
    ),
    "boat": (
        Part("main", [(0.05, -0.96), (0.92, 0.34), (0.05, 0.34)]),
        Part("main", [(-0.05, -0.7), (-0.05, 0.34), (-0.82, 0.34)]),
        Part("dark", _rectangle(-0.07, -0.98, 0.07, 0.5)),
        Part("dark", [(-0.99, 0.42), (0.99, 0.42), (0.62, 0.94), (-0.62, 0.94)]),
    ),
    "fish": (
        Part("main", [(0.34, 0), (0.99, -0.56), (0.86, 0), (0.99, 0.56)]),
        Part("dark", [(-0.24, -0.36), (0.16, -0.84), (0.36, -0.3)]),
        Part("main", _ellipse(-0.26, 0, 0.72, 0.5)),
        Part("dark", _ellipse(-0.6, -0.1, 0.13)),
    ),
    "flower": (
        *(Part("main", petal) for petal in _around(6, _ellipse(0, -0.62, 0.31, 0.38))),
        Part("light", _ellipse(0, 0, 0.34)),
    ),
    "mountain": (
        Part("main", [(-0.3, -0.86), (0.16, -0.06), (0.44, -0.44), (1.0, 0.82), (-1.0, 0.82)]),
        Part("light", [(-0.3, -0.86), (-0.02, -0.36), (-0.18, -0.2), (-0.32, -0.38), (-0.46, -0.2), (-0.55, -0.28)]),
        Part("light", [(0.44, -0.44), (0.62, -0.06), (0.46, 0.04), (0.26, -0.2)]),
    ),
    "car": (
        Part("main", [(-0.5, -0.56), (0.34, -0.56), (0.66, -0.06), (0.99, 0.06), (0.99, 0.5), (-0.99, 0.5),
                      (-0.99, 0.0), (-0.74, -0.06)]),
        Part("light", [(-0.42, -0.4), (-0.1, -0.4), (-0.1, -0.04), (-0.56, -0.04)]),
        Part("light", [(0.08, -0.4), (0.26, -0.4), (0.46, -0.04), (0.08, -0.04)]),
        Part("dark", _ellipse(-0.52, 0.48, 0.27)),
        Part("dark", _ellipse(0.54, 0.48, 0.27)),
    ),
    "bird": (
        Part("main", [(0.3, 0.02), (0.99, -0.3), (0.92, 0.3), (0.2, 0.5)]),
        Part("main", _ellipse(0.0, 0.22, 0.6, 0.44)),
        Part("main", _ellipse(-0.5, -0.3, 0.36)),
        Part("dark", [(-0.8, -0.46), (-1.0, -0.2), (-0.76, -0.14)]),
        Part("dark", _ellipse(0.12, 0.16, 0.38, 0.2, 0.35)),
        Part("dark", _rectangle(-0.12, 0.6, 0.02, 0.92)),
        Part("dark", _rectangle(0.16, 0.58, 0.3, 0.92)),
    ),
    "balloon": (
        Part("dark", [(-0.05, 0.5), (0.05, 0.5), (0.15, 0.7), (-0.02, 0.86), (0.1, 0.99), (-0.05, 0.99),
                      (-0.16, 0.86), (0.02, 0.7)]),
        Part("dark", [(0, 0.38), (0.2, 0.62), (-0.2, 0.62)]),
        Part("main", _ellipse(0, -0.26, 0.62, 0.72)),
        Part("light", _ellipse(-0.24, -0.54, 0.13, 0.2, 0.5)),
    ),
    "mushroom": (
        Part("dark", [(-0.28, 0), (0.28, 0), (0.38, 0.92), (-0.38, 0.92)]),
        Part("main", [(0.98 * x, 0.16 + 1.02 * y) for x, y in _DOME]),
    ),
    "umbrella": (
        Part("dark", _rectangle(-0.08, -0.2, 0.08, 0.74)),
        Part("dark", _ellipse(0.2, 0.7, 0.28, 0.28)),
        Part("hole", _ellipse(0.2, 0.68, 0.13, 0.13)),
        Part("hole", _rectangle(0.08, 0.3, 0.5, 0.69)),
        Part("main", [*((0.99 * x, 0.12 + 1.06 * y) for x, y in _DOME), *_scallops(3, 0.2, 0.16)]),
    ),
    "butterfly": (
        *(
            Part("main", _ellipse(side * x, y, wide, high, side * turn))
            for side in (-1, 1)
            for x, y, wide, high, turn in ((0.52, -0.38, 0.52, 0.42, -0.6), (0.44, 0.42, 0.4, 0.36, 0.7))
        ),
        *(Part("light", _ellipse(side * 0.56, -0.4, 0.2)) for side in (-1, 1)),
        Part("dark", _ellipse(0, 0.04, 0.13, 0.72)),
    ),
}  # fmt: skip

# A small thing can stand inside these when they are large, and is seen whole.
HOSTS = ("circle", "square", "heart", "ring", "diamond")
