"""A picture of any size to the rectangle that a model trains on, its mask with it, and what was done to them."""

import os
from dataclasses import dataclass
from random import Random
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from llmga.masks import WHITE_FROM


@dataclass(frozen=True)
class Framed:
    """A training picture.

    Attributes:
        pixels: (3, height, width) in [-1, 1].
        time_ids: original height, width; crop top, left; target height, width (what SDXL is told).
        mask: (1, height, width), 1 where to paint, else 0; None without one.
    """

    pixels: Tensor
    time_ids: tuple[int, int, int, int, int, int]
    mask: Tensor | None = None


def frame(
    image: Image.Image,
    size: tuple[int, int],
    *,
    center_crop: bool,
    flip: bool,
    rng: Random,
    mask: Image.Image | None = None,
) -> Framed:
    """Scale until the rectangle is just covered, mirror perhaps, cut it out.

    Mirroring comes before the cut, so the crop coordinates are those of the picture that is seen.

    Args:
        image: RGB.
        size: (height, width) of the rectangle.
        flip: mirror every other picture; not for captions that say left and right.
        rng: decides on mirroring and, without `center_crop`, on the place of the cut.
        mask: gray, of the picture's size, white where to paint; undergoes the same.
    """
    height, width = size
    scale = max(height / image.height, width / image.width)
    grown = max(height, round(image.height * scale)), max(width, round(image.width * scale))
    mirrored = flip and rng.random() < 0.5
    slack = grown[0] - height, grown[1] - width
    top, left = (extent // 2 if center_crop else rng.randint(0, extent) for extent in slack)
    pixels, covered = _transformed(image, mask, grown, mirrored, (left, top, left + width, top + height))
    time_ids = (image.height, image.width, top, left, height, width)
    return Framed(to_pixels(pixels), time_ids, None if covered is None else _to_mask(covered))


def _transformed(
    image: Image.Image,
    mask: Image.Image | None,
    grown: tuple[int, int],
    mirrored: bool,
    box: tuple[int, int, int, int],
) -> tuple[np.ndarray, np.ndarray | None]:
    """The same steps on picture and mask, only those that change something."""
    pixels, covered = np.array(image.convert("RGB")), None if mask is None else np.array(mask)
    whole = (0, 0, grown[1], grown[0])
    if grown == pixels.shape[:2] and not mirrored and box == whole:
        return pixels, covered
    library = _albumentations()
    area, cubic = 3, 2  # OpenCV's numbers: the mean when shrinking, a smooth curve when growing
    how = area if grown[0] < image.height else cubic
    steps = [library.Resize(*grown, interpolation=how, mask_interpolation=how)]  # the mask is cut at half afterwards
    steps += [library.HorizontalFlip(p=1)] * mirrored + [library.Crop(*box)] * (box != whole)
    done = library.Compose(steps)(**{"image": pixels} | ({} if covered is None else {"mask": covered}))
    return done["image"], done.get("mask")


def _albumentations() -> ModuleType:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version of itself
    import albumentations

    return albumentations


def to_pixels(pixels: np.ndarray) -> Tensor:
    """RGB uint8 (height, width, 3) -> float (3, height, width) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def _to_mask(covered: np.ndarray) -> Tensor:
    return torch.from_numpy(covered >= WHITE_FROM).float()[None]
