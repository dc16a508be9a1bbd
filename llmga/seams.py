"""How much the edge of a repainted region shows: steps of colour and bends of gradient across the mask's edge.

Wherever a painted pixel touches a kept one, four pixels in a line are looked at: two kept, two painted (q' q | p p').
A seam is a step between q and p that the steps on both sides of it do not announce.  Texture has such steps
everywhere, so what lies a few pixels beside the edge, on the same lines, is taken away::

    seam(image, mask).colour        levels of 0 to 255: 0 cannot be seen, from about 2 on smooth surfaces show it
    seam_error(image, truth, mask)  the same against a known truth, as the papers' tables have it
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from llmga.errors import UserError

VISIBLE = 2.0  # levels of colour from which smooth surfaces show a seam
REACH = 4  # pixels of a line on each side of the edge: two at the edge, two to compare with


@dataclass(frozen=True)
class Seam:
    """What shows, in levels of 0 to 255; negative values say that the edge is calmer than what is beside it.

    Attributes:
        colour: step across the edge beyond the steps beside it.
        gradient: change of the step at the edge beyond the change beside it.
    """

    colour: float
    gradient: float


def seam(image: Image.Image | np.ndarray, mask: Image.Image | np.ndarray) -> Seam:
    """The seam of a picture (height, width, 3) along the edge of a mask (height, width) of the same size.

    A mask is boolean, or a picture whose upper half of the levels marks what was painted.  Without an edge (an empty
    or a full mask) there is no seam.

    Raises:
        UserError: when the sizes differ.
    """
    lines = np.concatenate(list(_lines(*_checked(image, mask))) or [np.zeros((0, 2 * REACH, 3))])
    if not len(lines):
        return Seam(0.0, 0.0)
    steps = np.diff(lines, axis=1)  # 7 steps a line; the middle one crosses the edge
    middle, bends = REACH - 1, np.abs(np.diff(steps, axis=1))
    beside = np.abs(steps[:, [0, 1, -2, -1]]).mean()
    return Seam(
        colour=float(np.abs(steps[:, middle]).mean() - beside),
        gradient=float(bends[:, [middle - 1, middle]].mean() - bends[:, [0, -1]].mean()),
    )


def seam_error(
    image: Image.Image | np.ndarray, truth: Image.Image | np.ndarray, mask: Image.Image | np.ndarray
) -> float:
    """Mean over neighbours p, q across the mask's edge of |(image_p - image_q) - (truth_p - truth_q)|, 0 to 255.

    Raises:
        UserError: when the sizes differ.
    """
    image, hole = _checked(image, mask)
    difference = image - _checked(truth, mask)[0]
    steps = np.concatenate([np.abs(np.diff(difference, axis=axis))[np.diff(hole, axis=axis)] for axis in (0, 1)])
    return float(steps.mean()) if len(steps) else 0.0


def _checked(image: Image.Image | np.ndarray, mask: Image.Image | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture as float (height, width, 3) and the mask as boolean (height, width)."""
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image).astype(np.float32)
    hole = np.asarray(mask.convert("L")) >= 128 if isinstance(mask, Image.Image) else np.asarray(mask, dtype=bool)
    if pixels.shape[:2] != hole.shape:
        raise UserError(
            f"the mask is {hole.shape[1]}x{hole.shape[0]}, but the picture is {pixels.shape[1]}x{pixels.shape[0]}; "
            "give a mask of the picture's size."
        )
    return pixels, hole


def _lines(pixels: np.ndarray, hole: np.ndarray) -> Iterator[np.ndarray]:
    """Every line of eight pixels, (count, 8, 3), whose first half is kept and whose second half was painted."""
    turned = ((0, False), (0, True), (1, False), (1, True))
    for axis, back in turned:
        picture, marks = (np.moveaxis(array, axis, 0)[:: -1 if back else 1] for array in (pixels, hole))
        if len(marks) < 2 * REACH:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(marks, 2 * REACH, axis=0)
        row, column = np.nonzero(~windows[..., :REACH].any(-1) & windows[..., REACH:].all(-1))
        yield np.stack([picture[row + place, column] for place in range(2 * REACH)], axis=1)
