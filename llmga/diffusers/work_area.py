"""Pictures of any size on a model that likes one: which part is worked on, and at what size."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image

Size = tuple[int, int]  # width, height in pixels
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

LONGEST = 2  # times the native side; a picture of a larger aspect gets a margin instead
AS_IT_IS = (0.8, 1.25)  # a scale this near to 1 is left out
MARGIN = 0.25  # around a mask, of its longer side: what the model has to continue


@dataclass(frozen=True)
class WorkArea:
    """A part of a picture on the canvas that the model paints.

    The part keeps its aspect; what the canvas has more is filled by repeating the border.

    Attributes:
        box: the part, in pixels of the picture.
        content: its size on the canvas.
        canvas: size of the canvas.
    """

    box: Box
    content: Size
    canvas: Size

    @classmethod
    def fitted(cls, box: Box, native: Size, unit: int) -> Self:
        """As many pixels as the native size has, in multiples of `unit`, the short side at least half a native one."""
        width, height = box[2] - box[0], box[3] - box[1]
        scale = min(math.sqrt(native[0] * native[1] / (width * height)), LONGEST * max(native) / max(width, height))
        scale = 1.0 if AS_IT_IS[0] <= scale <= AS_IT_IS[1] else scale
        content = max(1, round(width * scale)), max(1, round(height * scale))
        least = _multiple(min(native) / LONGEST, unit)
        return cls(box, content, (max(_multiple(content[0], unit), least), max(_multiple(content[1], unit), least)))

    @classmethod
    def within(cls, box: Box, canvas: Size) -> Self:
        """As large as it fits on a canvas of a given size."""
        width, height = box[2] - box[0], box[3] - box[1]
        scale = min(canvas[0] / width, canvas[1] / height)
        content = max(1, min(canvas[0], round(width * scale))), max(1, min(canvas[1], round(height * scale)))
        return cls(box, content, canvas)

    @property
    def margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right)) of the content on the canvas."""
        spare = [whole - part for whole, part in zip(self.canvas, self.content, strict=True)]
        (left, top), (right, bottom) = [each // 2 for each in spare], [each - each // 2 for each in spare]
        return (top, bottom), (left, right)

    def picture_on_canvas(self, picture: Image.Image) -> Image.Image:
        """The part of an RGB picture, on the canvas."""
        part = picture.crop(self.box)
        if part.size != self.content:
            part = part.resize(self.content, Image.Resampling.LANCZOS)
        return self._bordered(np.asarray(part))

    def mask_on_canvas(self, mask: Image.Image) -> Image.Image:
        """The part of a mask, on the canvas: white wherever any of its pixels is more than black."""
        part = mask.crop(self.box).convert("F")
        if part.size != self.content:
            part = part.resize(self.content, Image.Resampling.BOX)
        covered = np.where(np.asarray(part) > 1e-3, np.uint8(255), np.uint8(0))
        return self._bordered(covered)

    def _bordered(self, pixels: np.ndarray) -> Image.Image:
        return Image.fromarray(np.pad(pixels, (*self.margins, *[(0, 0)] * (pixels.ndim - 2)), mode="edge"))

    def back(
        self, painted: Image.Image, size: Size, resample: Image.Resampling = Image.Resampling.LANCZOS
    ) -> Image.Image:
        """What was painted on the canvas, at its place in a picture of `size` that is black elsewhere."""
        (top, _), (left, _) = self.margins
        part = painted.crop((left, top, left + self.content[0], top + self.content[1]))
        extent = self.box[2] - self.box[0], self.box[3] - self.box[1]
        if part.size != extent:
            part = part.resize(extent, resample)
        whole = Image.new(painted.mode, size)
        whole.paste(part, self.box[:2])
        return whole


def around(mask: Image.Image, native: Size) -> Box:
    """The box of a mask's marked pixels with what lies around it, of the native size where the picture allows it."""
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    margin = MARGIN * max(right - left, bottom - top)
    wide = _span(left, right, max(native[0], right - left + 2 * margin), mask.width)
    high = _span(top, bottom, max(native[1], bottom - top + 2 * margin), mask.height)
    return wide[0], high[0], wide[1], high[1]


def _span(start: int, end: int, extent: float, limit: int) -> tuple[int, int]:
    """`extent` pixels around start…end, moved into 0…limit."""
    extent = min(math.ceil(extent), limit)
    first = min(max((start + end - extent) // 2, 0), limit - extent)
    return first, first + extent


def _multiple(extent: float, unit: int) -> int:
    return math.ceil(extent / unit) * unit
