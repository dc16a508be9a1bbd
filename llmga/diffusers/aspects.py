"""Sizes of one area and several aspects, such as a checkpoint was trained on."""

import math
from fractions import Fraction

from llmga.limits import LARGEST_SIDE, SMALLEST_SIDE
from llmga.registry import Registry

Size = tuple[int, int]  # width, height in pixels
UNIT = 8  # every side of a painted picture is a multiple of it
STEPS = 16  # of a square's side: SDXL was trained in sizes that are multiples of 64, a sixteenth of 1024

# width : height, in the order in which they are offered.
ASPECTS = Registry("aspect", {
    "1:1": Fraction(1), "4:3": Fraction(4, 3), "3:4": Fraction(3, 4), "3:2": Fraction(3, 2), "2:3": Fraction(2, 3),
    "16:9": Fraction(16, 9), "9:16": Fraction(9, 16),
})  # fmt: skip


def sized(aspect: str, native: Size) -> Size:
    """The size of an aspect with about as many pixels as a checkpoint's own one.

    Args:
        aspect: a row of `ASPECTS`.
        native: what the checkpoint was made for.
    """
    ratio, area = float(ASPECTS[aspect]), native[0] * native[1]
    step = max(UNIT, round(math.sqrt(area) / STEPS / UNIT) * UNIT)
    return _side(math.sqrt(area * ratio), step), _side(math.sqrt(area / ratio), step)


def aspect_of(size: Size, native: Size) -> str | None:
    """The aspect that gives this size; None where none does."""
    return next((name for name in ASPECTS if sized(name, native) == size), None)


def _side(wanted: float, step: int) -> int:
    return min(max(round(wanted / step) * step, SMALLEST_SIDE), LARGEST_SIDE // step * step)
