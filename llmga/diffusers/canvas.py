"""Outpainting geometry: where a picture lies on a larger canvas, and what is there before it is painted."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image

from llmga import deep
from llmga.compositing import able_to_hold, paste_back
from llmga.errors import UserError
from llmga.images import MAX_PIXELS, MAX_SIDE, to_rgb
from llmga.registry import Registry

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
SIDES = ("left", "top", "right", "bottom")
NUMBER = r"(\d{1,9}(?:\.\d{0,9})?)"
AT_ONCE = 5  # times its width or height: the models saw strips of up to .40 on both sides of what is kept

# Where the picture lies on the canvas: shares of the new width on its left and of the new height above it.
ANCHORS = Registry("anchor", {
    "top-left": (0.0, 0.0), "top": (0.5, 0.0), "top-right": (1.0, 0.0),
    "left": (0.0, 0.5), "center": (0.5, 0.5), "right": (1.0, 0.5),
    "bottom-left": (0.0, 1.0), "bottom": (0.5, 1.0), "bottom-right": (1.0, 1.0),
})  # fmt: skip


@dataclass(frozen=True)
class Canvas:
    """A picture's size and how much is added on each side, in pixels, none negative.

    Raises:
        UserError: when nothing or too much is added.
    """

    width: int
    height: int
    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __post_init__(self) -> None:
        for side in SIDES:
            if getattr(self, side) < 0:
                raise UserError(f"{side} = {getattr(self, side)} pixels would cut the picture; outpainting only adds.")
        if self.size == (self.width, self.height):
            raise UserError("nothing is added to the picture; outpaint at least one pixel, such as left=25%.")
        if self.size[0] * self.size[1] > MAX_PIXELS or max(self.size) > MAX_SIDE:
            raise UserError(f"the outpainted picture would be {self.size[0]}x{self.size[1]}, which is more than "
                            f"{MAX_PIXELS // 1_000_000} million pixels or {MAX_SIDE} on a side; add less.")  # fmt: skip

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the whole."""
        return self.left + self.width + self.right, self.top + self.height + self.bottom

    @property
    def box(self) -> Box:
        """Where the picture lies."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    @classmethod
    def to_size(cls, picture: tuple[int, int], target: tuple[int, int], anchor: str = "center") -> Self:
        """Grown to (width, height), with the picture at a row of `ANCHORS`."""
        if target[0] < picture[0] or target[1] < picture[1]:
            raise UserError(f"the target {target[0]}x{target[1]} is smaller than the picture "
                            f"{picture[0]}x{picture[1]}; outpainting only adds.")  # fmt: skip
        x, y = ANCHORS[anchor]
        left, top = (round((to - side) * share) for to, side, share in zip(target, picture, (x, y), strict=True))
        return cls(*picture, left, top, target[0] - picture[0] - left, target[1] - picture[1] - top)

    @classmethod
    def to_aspect(cls, picture: tuple[int, int], aspect: float, anchor: str = "center") -> Self:
        """Grown on one axis until width / height is `aspect`, to the nearest pixel."""
        width, height = picture
        target = (width, round(width / aspect)) if width / height > aspect else (round(height * aspect), height)
        return cls.to_size(picture, (max(target[0], width), max(target[1], height)), anchor)

    @classmethod
    def parse(cls, text: str, picture: tuple[int, int]) -> Self:
        """What a person types.

        `left=25%,right=100` adds to sides (percent of the picture, or pixels; `all=` is every side), `aspect=16:9` and
        `size=1024x768` grow to a shape, with `anchor=` one of `ANCHORS` for where the picture lies.

        Raises:
            UserError: for what is unclear, unknown or given twice, and when nothing or too much is added.
        """
        given = _pairs(text)
        anchor = given.pop("anchor", "center")
        shapes, sides = given.keys() & {"aspect", "size"}, given.keys() & {"all", *SIDES}
        if len(shapes) + bool(sides) != 1:
            raise UserError(f"outpainting {text!r} is unclear; give sides such as left=25%, or aspect=, or size=.")
        if "aspect" in shapes:
            width, height = _numbers(given["aspect"], rf"{NUMBER}[:/x]{NUMBER}", "aspect", "16:9")
            return cls.to_aspect(picture, width / height, anchor)
        if "size" in shapes:
            width, height = _numbers(given["size"], r"(\d{1,9})x(\d{1,9})", "size", "1024x768")
            return cls.to_size(picture, (int(width), int(height)), anchor)
        extents = {side: given.get(side, given.get("all", "0")) for side in SIDES}
        whole = dict(zip(SIDES, picture * 2, strict=True))
        return cls(*picture, **{side: _pixels(side, extent, whole[side]) for side, extent in extents.items()})

    def grow(self, picture: Image.Image, fill: str = "edge", seed: int = 0) -> tuple[Image.Image, Image.Image]:
        """The canvas with the picture on it, in its own mode (a palette becomes RGB), and the mask of what is new.

        Args:
            fill: a row of `FILLS`, what is there before it is painted.
            seed: of the fill `noise`.

        Raises:
            UserError: when the picture is not of the canvas's inner size.
        """
        if picture.size != (self.width, self.height):
            raise UserError(f"the canvas is for a picture of {self.width}x{self.height}, "
                            f"but this one is {picture.width}x{picture.height}.")  # fmt: skip
        filler, picture = FILLS[fill], able_to_hold(picture)
        margins = (self.top, self.bottom), (self.left, self.right), (0, 0)
        filled = filler(np.asarray(to_rgb(picture)), margins, np.random.default_rng(seed))
        mask = Image.new("L", self.size, 255)
        mask.paste(0, self.box)
        grown = Image.new(picture.mode, self.size)
        grown.paste(picture, self.box)
        grown.info = dict(picture.info)
        deep.grown(picture, self.box[:2], grown)
        return paste_back(grown, Image.fromarray(filled), mask), mask

    def shrink(self, grown: Image.Image) -> Image.Image:
        """The inverse of `grow`: the picture alone."""
        return deep.cropped(grown, self.box)


def _pairs(text: str) -> dict[str, str]:
    known = ("all", *SIDES, "aspect", "size", "anchor")
    pairs = ["".join(part.split()).partition("=") for part in text.lower().split(",")]
    for name, _, value in pairs:
        if name not in known or not value:
            raise UserError(f"outpainting part {name!r} is unknown or has no value; use {', '.join(known)}, "
                            "such as left=25%,right=25%.")  # fmt: skip
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise UserError(f"outpainting {text!r} names a part twice; name each once.")
    return {name: value for name, _, value in pairs}


def _numbers(value: str, form: str, name: str, example: str) -> tuple[float, float]:
    match = re.fullmatch(form, value)
    width, height = (float(number) for number in match.groups()) if match else (0, 0)
    if not (width > 0 and height > 0):
        raise UserError(f"{name} {value!r} is no {name}; write it as {example}.")
    return width, height


def _pixels(side: str, extent: str, whole: int) -> int:
    match = re.fullmatch(rf"{NUMBER}(%|px)?", extent)
    if not match or ("." in match[1] and match[2] != "%"):
        raise UserError(f"{side}={extent} is no extent; write pixels such as 128 or a share such as 25%.")
    return round(float(match[1]) * whole / 100) if match[2] == "%" else int(match[1])


Margins = tuple[tuple[int, int], ...]  # (before, after) on each axis of an array
Fill = Callable[[np.ndarray, Margins, np.random.Generator], np.ndarray]


def _plain(value: int) -> Fill:
    return lambda pixels, margins, rng: np.pad(pixels, margins, constant_values=value)


def _noise(pixels: np.ndarray, margins: Margins, rng: np.random.Generator) -> np.ndarray:
    shape = [side + sum(margin) for side, margin in zip(pixels.shape, margins, strict=True)]
    return rng.integers(0, 256, shape, dtype=np.uint8)


FILLS: Registry[Fill] = Registry("fill", {
    "edge": lambda pixels, margins, rng: np.pad(pixels, margins, mode="edge"),
    "mirror": lambda pixels, margins, rng: np.pad(pixels, margins, mode="symmetric"),
    "grey": _plain(127),
    "black": _plain(0),
    "white": _plain(255),
    "noise": _noise,
})  # fmt: skip


def stages(mask: Image.Image, growth: float = AT_ONCE) -> list[tuple[Box, Image.Image]]:
    """In which steps a masked picture is filled: boxes that grow to the whole, with the mask inside each.

    A mask that leaves one rectangle, and makes it more than `growth` times as wide or high, is outpainting by more than
    a model can continue at once; every other mask is one step.

    Raises:
        UserError: when the growth is not above 1.
    """
    if not growth > 1:
        raise UserError(f"growth {growth} is out of range; use more than 1.")
    whole = (0, 0, *mask.size)
    kept = np.asarray(mask) == 0
    if not kept.any():
        return [(whole, mask)]
    rows, columns = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    if not kept[box[1] : box[3], box[0] : box[2]].all():
        return [(whole, mask)]
    found = []
    while box != whole:
        inner, box = box, _grown(box, mask.size, growth)
        ring = mask.crop(box)
        ring.paste(0, (inner[0] - box[0], inner[1] - box[1], inner[2] - box[0], inner[3] - box[1]))
        found.append((box, ring))
    return found


def _grown(box: Box, size: tuple[int, int], growth: float) -> Box:
    """The box, on both axes at most `growth` times as long, on its way to the whole picture."""
    left, right = _grown_span(box[0], box[2], size[0], growth)
    top, bottom = _grown_span(box[1], box[3], size[1], growth)
    return left, top, right, bottom


def _grown_span(start: int, end: int, limit: int, growth: float) -> tuple[int, int]:
    extent = min(max(math.floor((end - start) * growth), end - start + 1), limit)
    if extent == limit:
        return 0, limit
    missing, added = limit - (end - start), extent - (end - start)
    before = math.floor(start * added / missing)
    return start - before, start - before + extent
