"""What a ControlNet reads of a picture, taken from it by filters that need no weights.

What only a network can see (depth, poses, normals, segments) is given as a map that another program made.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from llmga.extras import require
from llmga.registry import Registry

CANNY = 100, 200  # of the gradient's 0 to 1020: what the ControlNets for edges were trained on
Take = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class ControlMap:
    """A row of the table of controls.

    Attributes:
        take: an RGB picture of the painting's size to the RGB map of the same size.
        union: the number of its kind in a ControlNet-Union; None where it has none.
    """

    take: Take
    union: int | None = None


def as_given(picture: Image.Image) -> Image.Image:
    """The picture itself."""
    return picture


def canny(picture: Image.Image) -> Image.Image:
    """White edges on black, one pixel wide.

    Raises:
        UserError: OpenCV, which finds them, is not installed.
    """
    cv2 = require("cv2", "the control 'canny'")
    return Image.fromarray(cv2.Canny(np.asarray(picture), *CANNY)).convert("RGB")


def softedge(picture: Image.Image) -> Image.Image:
    """Edges in grey on black, as strong as they are: Sobel's gradient of the blurred picture."""
    gray = np.pad(_gray(picture, 1.0), 1, mode="edge")
    smooth_rows, smooth_columns = (
        (gray[:-2] + 2 * gray[1:-1] + gray[2:]),
        (gray[:, :-2] + 2 * gray[:, 1:-1] + gray[:, 2:]),
    )
    across, down = smooth_rows[:, 2:] - smooth_rows[:, :-2], smooth_columns[2:] - smooth_columns[:-2]
    return _white_on_black(np.hypot(across, down))


def lineart(picture: Image.Image) -> Image.Image:
    """Lines in grey on black: what is darker than its surroundings (a difference of Gaussians)."""
    return _white_on_black(np.maximum(_gray(picture, 3.0) - _gray(picture, 0.7), 0))


def scribble(picture: Image.Image) -> Image.Image:
    """White lines on black without any grey, the clear ones only."""
    return lineart(picture).point(lambda level: 255 if level >= 96 else 0)


def blur(picture: Image.Image) -> Image.Image:
    """The picture without its details, on every size alike: a Gaussian of 1 % of the longer side."""
    return picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 100))


def gray(picture: Image.Image) -> Image.Image:
    """The picture without its colours."""
    return picture.convert("L").convert("RGB")


def _gray(picture: Image.Image, radius: float) -> np.ndarray:
    """Luminance 0 to 255 of shape (height, width), blurred by a Gaussian of so many pixels."""
    return np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)


def _white_on_black(strength: np.ndarray) -> Image.Image:
    """Strengths from 0 as levels; a hundredth of the pixels is white, and the weakest differences are black."""
    top = max(float(np.quantile(strength, 0.99)), 8.0)  # so that noise on a plain picture stays dark
    return Image.fromarray((strength / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")


CONTROLS: Registry[ControlMap] = Registry("control", {
    "canny": ControlMap(canny, union=3),
    "softedge": ControlMap(softedge, union=2),
    "lineart": ControlMap(lineart, union=3),
    "scribble": ControlMap(scribble, union=2),
    "depth": ControlMap(as_given, union=1),
    "openpose": ControlMap(as_given, union=0),
    "normal": ControlMap(as_given, union=4),
    "segment": ControlMap(as_given, union=5),
    "tile": ControlMap(as_given, union=6),
    "blur": ControlMap(blur, union=6),
    "gray": ControlMap(gray),
    "map": ControlMap(as_given),  # whatever the ControlNet was made for
    "ip-adapter": ControlMap(as_given),  # what the picture shows, and not where
})  # fmt: skip
