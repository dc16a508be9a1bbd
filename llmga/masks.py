"""Regions to repaint: as a person gives them, and the three kinds that stage 1 hides and stage 2 learns to fill.

A drawn mask is a boolean array of shape (height, width); True marks what is to be painted anew.  All measures are
fractions of the picture, taken from the original's pixels on 512x512, so that every size is covered alike.
"""

import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from llmga.errors import UserError
from llmga.images import extrema, to_rgb
from llmga.registry import Registry

REFERENCE = 512  # the side for which the original states its pixels
MIRROR = 2 * math.pi


def irregular(size: tuple[int, int], rng: np.random.Generator, side: int = REFERENCE) -> np.ndarray:
    """One to five brush strokes, each a chain of one to five segments; covers about .18 of the picture.

    Args:
        side: of the picture for which lengths and widths are meant; a smaller one makes larger masks.
    """
    width, height = size
    canvas = Image.new("1", size)
    pen = ImageDraw.Draw(canvas)
    for stroke in range(rng.integers(1, 6)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        for _ in range(rng.integers(1, 6)):
            angle = 0.01 + rng.integers(4)
            angle = MIRROR - angle if stroke % 2 == 0 else angle
            length, brush = rng.integers(10, 250) / side, rng.integers(5, 105) / side
            end_x = min(max(x + length * math.sin(angle) * width, 0), width)
            end_y = min(max(y + length * math.cos(angle) * height, 0), height)
            _draw_segment(pen, (x, y), (end_x, end_y), brush * math.sqrt(width * height))
            x, y = end_x, end_y
    return np.asarray(canvas)


def _draw_segment(
    pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], thickness: float
) -> None:
    """A line with round ends."""
    radius = max(thickness / 2, 0.5)
    pen.line((start, end), fill=1, width=max(round(thickness), 1))
    for x, y in (start, end):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)


def box(size: tuple[int, int], rng: np.random.Generator, side: int = REFERENCE) -> np.ndarray:
    """One to four rectangles of .07 to .31 of a side, off the border; covers about .085 of the picture.

    Args:
        side: as in `irregular`.
    """
    width, height = size
    mask = np.zeros((height, width), dtype=bool)
    for _ in range(rng.integers(1, 5)):
        rows, columns = _box_extent(height, rng, side), _box_extent(width, rng, side)
        mask[rows, columns] = True
    return mask


def _box_extent(length: int, rng: np.random.Generator, side: int) -> slice:
    margin = length * 10 / side
    extent = length * rng.integers(35, 161) / side
    start = rng.uniform(margin, length - margin - extent)
    first = round(start)
    return slice(first, max(round(start + extent), first + 1))


def outpaint(size: tuple[int, int], rng: np.random.Generator, narrowest: float = 0.35) -> np.ndarray:
    """Strips of `narrowest` to .40 along the sides, each side with probability one half, at least one side."""
    width, height = size
    sides = rng.random(4) < 0.5
    if not sides.any():
        sides[rng.integers(4)] = True
    low, high = int(narrowest * REFERENCE), int(0.40 * REFERENCE)
    top, bottom, left, right = (bool(side) * rng.integers(low, high) / REFERENCE for side in sides)
    mask = np.ones((height, width), dtype=bool)
    rows = slice(round(top * height), height - round(bottom * height))
    mask[rows, round(left * width) : width - round(right * width)] = False
    return mask


GENERATORS = Registry("kind of mask", {"irregular": irregular, "box": box, "outpaint": outpaint})
PROBABILITIES = {"irregular": 0.25, "box": 0.25, "outpaint": 0.5}


def random_mask(size: tuple[int, int], rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A mask for a picture of `size` (width, height), and the name of its kind."""
    kind = str(rng.choice(list(PROBABILITIES), p=list(PROBABILITIES.values())))
    return kind, GENERATORS[kind](size, rng)


WHITE_FROM = 125  # gray value from which a mask means: paint here
CONVENTIONS = ("auto", "white", "transparent")


def read_mask(
    mask: Image.Image, size: tuple[int, int], *, soft: bool = False, convention: str = "auto", whole: bool = False
) -> Image.Image:
    """A person's mask of any mode, as mode L: 255 is painted anew, 0 is kept.

    Args:
        size: (width, height) of the picture that it belongs to.
        soft: keep the values between; such pixels become a mix.  Otherwise they are painted from `WHITE_FROM` on.
        convention: what is painted anew: `white`, or `transparent` as in OpenAI's interface.  `auto` goes by whether
            anything in the mask is transparent.
        whole: it may cover all of the picture, of which something is kept by other means.

    Raises:
        UserError: when the size is another one, or all or nothing of the picture would be kept.
    """
    if mask.size != size:
        raise UserError(
            f"the mask is {mask.width}x{mask.height} but the picture {size[0]}x{size[1]}; "
            "give a mask of the picture's size."
        )
    gray = _marked(mask, convention)
    if not soft:
        gray = gray.point(lambda value: 255 if value >= WHITE_FROM else 0)
    darkest, brightest = extrema(gray)
    if brightest == 0:
        raise UserError("the mask is empty, so nothing would be painted; make white what is to be painted anew.")
    if darkest == 255 and not whole:
        raise UserError("the mask covers the whole picture, so nothing would be kept; leave black what is to stay.")
    return gray


def _marked(mask: Image.Image, convention: str) -> Image.Image:
    """How much each pixel is marked, as mode L, by one of `CONVENTIONS`."""
    if convention not in CONVENTIONS:
        raise UserError(f"unknown mask convention {convention!r}; use one of: {', '.join(CONVENTIONS)}.")
    if convention != "white" and mask.has_transparency_data:
        alpha = mask.convert("RGBA").getchannel("A")
        if convention == "transparent" or extrema(alpha)[0] < 255:
            return ImageChops.invert(alpha)
    if convention == "transparent":
        raise UserError("the mask has no transparency; make transparent what is to be painted anew.")
    return to_rgb(mask).convert("L")


def hide(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """A copy of the picture with the masked pixels black.

    Raises:
        UserError: when the sizes differ.
    """
    if mask.shape != (image.height, image.width):
        raise UserError(
            f"the mask is {mask.shape[1]}x{mask.shape[0]}, but the picture is {image.width}x{image.height}; "
            "give a mask of the picture's size."
        )
    pixels = np.array(to_rgb(image))
    pixels[mask] = 0
    return Image.fromarray(pixels)
