"""What restorers do to photographs, against a known truth: `python -m llmga.evaluation.restoration`.

The protocol: nine pictures that ship with scikit-image at 400 pixels, masks of the published training, five a picture.
What a diffusion model would have left is simulated in one of three ways; every method sees that, the truth outside the
mask, and the mask.  Figures are means over the cases, in levels of 0 to 255 unless they are dB:

* psnr: inside the mask only (over the whole picture, pasted pixels would flatter everybody),
* seam: `llmga.seams.seam_error`,
* shift: |mean(output - truth)| inside the mask, mean over the channels,
* kept: largest difference outside the mask, which has to be 0.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from llmga.diffrir.degradation import local_drift
from llmga.diffrir.masks import random_mask
from llmga.diffrir.restorers import RESTORERS, open_restorer
from llmga.errors import UserError, command_line
from llmga.registry import Registry
from llmga.seams import seam_error

SIDE = 400
PICTURES = ("astronaut", "brick", "camera", "cat", "coffee", "hubble_deep_field", "immunohistochemistry",
            "retina", "rocket")  # fmt: skip
GAIN, BIAS, CAST, QUALITY = 0.08, 0.05, 0.03, 80
METHOD = Callable[[Image.Image, Image.Image, Image.Image], Image.Image]


def photographs() -> Iterator[tuple[str, Image.Image]]:
    """The nine pictures, as squares of 400 pixels.  Raises: UserError when scikit-image is not there."""
    try:
        from skimage import data
    except ImportError:
        raise UserError(
            "scikit-image brings the pictures and is not installed; run pip install scikit-image."
        ) from None
    for name in PICTURES:
        picture = Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        yield name, picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def tone(truth: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One gain and one bias for the picture, as in the published training of stage 2."""
    gain, bias = 1 + rng.uniform(-GAIN, GAIN), rng.uniform(-BIAS, BIAS)
    return _image(np.asarray(truth) / 255 * gain + bias)


def blur_tone_jpeg(truth: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A slight blur, a tone with another cast for each channel, and JPEG."""
    toned = np.asarray(tone(truth.filter(ImageFilter.GaussianBlur(0.8)), rng)) / 255
    return _jpeg(_image(toned * (1 + rng.uniform(-CAST, CAST, 3))))


def drift(truth: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Colours that drift from place to place, after the above: no single tone fits."""
    pixels = torch.from_numpy(np.asarray(blur_tone_jpeg(truth, rng)).copy()).permute(2, 0, 1)[None] / 255
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return _image(local_drift(pixels, 0.04, generator)[0].permute(1, 2, 0).numpy())


DAMAGES = Registry("damage", {"tone": tone, "blur+tone+jpeg": blur_tone_jpeg, "drift": drift})


def _image(pixels: np.ndarray) -> Image.Image:
    """From (height, width, 3) around 0 to 1."""
    return Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return Image.open(buffer).convert("RGB")


def paste(image: Image.Image, truth: Image.Image, mask: Image.Image) -> Image.Image:
    """Put the kept pixels back and nothing more."""
    return Image.composite(image, truth, mask)


def feather(image: Image.Image, truth: Image.Image, mask: Image.Image) -> Image.Image:
    """Fade from kept to painted over some pixels inside the mask."""
    inside = mask.filter(ImageFilter.MinFilter(9)).filter(ImageFilter.GaussianBlur(4))
    return Image.composite(Image.composite(image, truth, inside), truth, mask)


def histogram(image: Image.Image, truth: Image.Image, mask: Image.Image) -> Image.Image:
    """One curve for each channel that gives the kept region its histogram back."""
    kept = np.asarray(mask) < 128
    painted, known = np.asarray(image), np.asarray(truth)
    if not kept.any():
        return image
    curves = [_curve(painted[kept, channel], known[kept, channel]) for channel in range(3)]
    toned = np.stack([curve[painted[..., channel]] for channel, curve in enumerate(curves)], axis=-1)
    return paste(_image(toned / 255), truth, mask)


def _curve(painted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What each of the 256 levels becomes."""
    levels = np.arange(256)
    ranks = [np.searchsorted(np.sort(values), levels, side="right") / len(values) for values in (painted, known)]
    return np.interp(ranks[0], ranks[1], levels)


def seamless_clone(image: Image.Image, truth: Image.Image, mask: Image.Image) -> Image.Image:
    """OpenCV's Poisson blending, with a mirrored frame, since it cannot reach the picture's edge."""
    import cv2

    frame = 8
    hole = np.asarray(mask) >= 128
    painted, known = (np.pad(np.asarray(picture), ((frame,) * 2, (frame,) * 2, (0, 0)), mode="reflect")
                      for picture in (image, truth))  # fmt: skip
    marks = np.pad(hole, frame).astype(np.uint8) * 255
    rows, columns = np.nonzero(marks)
    # seamlessClone centres the marks' bounding box on this point.
    centre = tuple(int((axis.min() + axis.max() + 1) // 2) for axis in (columns, rows))
    cloned = cv2.seamlessClone(painted, known, marks, centre, cv2.NORMAL_CLONE)
    return paste(Image.fromarray(cloned[frame:-frame, frame:-frame]), truth, mask)
