"""A picture of any size to the square that a model trains on, and what was done to it."""

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


@dataclass(frozen=True)
class Framed:
    """A training picture.

    Attributes:
        pixels: (3, side, side) in [-1, 1].
        time_ids: original height, width; crop top, left; target height, width (what SDXL is told).
    """

    pixels: Tensor
    time_ids: tuple[int, int, int, int, int, int]


def frame(image: Image.Image, side: int, *, center_crop: bool, flip: bool, rng: Random) -> Framed:
    """Scale the shorter side to `side`, mirror perhaps, cut a square.

    Mirroring comes before the cut, so the crop coordinates are those of the picture that is seen.

    Args:
        flip: mirror every other picture; not for captions that say left and right.
        rng: decides on mirroring and, without `center_crop`, on the place of the cut.
    """
    original_width, original_height = image.size
    scale = side / min(image.size)
    width, height = (max(side, round(extent * scale)) for extent in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if flip and rng.random() < 0.5:
        image = ImageOps.mirror(image)
    slack = (height - side, width - side)
    top, left = (extent // 2 if center_crop else rng.randint(0, extent) for extent in slack)
    cut = image.crop((left, top, left + side, top + side))
    return Framed(to_pixels(cut), (original_height, original_width, top, left, side, side))


def to_pixels(image: Image.Image) -> Tensor:
    """RGB picture -> float (3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1
