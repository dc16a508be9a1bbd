"""Agreement without weights: the tone is fitted where the original is known, what is left of the seam is blended.

The painted picture shows the kept region too, a little off; how far off there tells what to do where nothing is kept.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from llmga.deep import SCALE, levels, of_levels, scaled
from llmga.diffrir.blending import Box, blended, bounds
from llmga.diffrir.levelling import levelled
from llmga.diffrir.tone import ENOUGH
from llmga.errors import UserError

MARGIN, LEAST_MARGIN = 0.5, 128  # around a hole: of its longer side, and in pixels; what lies there is looked at


def match(
    image: Image.Image, reference: Image.Image | None, mask: Image.Image | None, *, blend: bool = False
) -> Image.Image:
    """The painted region in the tone of the kept one, slow drifts taken out; kept pixels are the reference's.

    Where that makes kept pixels that it was not fitted to no more alike, the painting stays as it is.

    Args:
        image: the painted picture.
        reference: of its size, what was there before.
        mask: of its size; the upper half of its levels was painted.
        blend: also carry what still differs along the seam into the painted region, and fade from the original to
            the painting over its first pixels, wherever both show the same thing there.

    Returns:
        RGB, of the reference's bit depth; the image as it is where nothing is known of the original.

    Raises:
        UserError: when the sizes differ.
    """
    if reference is None or mask is None:
        return image
    check_sizes(image, reference, mask)
    hole = np.asarray(mask.convert("L")) >= 128
    if hole.all():
        return image
    deep = reference.mode == "RGB" and levels(reference) is not None
    painted, known = (_in_fine_levels(each.convert("RGB"), deep) for each in (image, reference))
    result = scaled(reference).copy() if deep else known.copy()
    if hole.any():
        box = surroundings(hole)
        inside = hole[box]
        toned = levelled(painted, known, ~hole, box)
        if blend:
            toned = blended(toned, known[box].astype(np.float32), ~inside)
        result[box][inside] = (toned[inside].clip(0, 255) * (SCALE if deep else 1)).round()
    return of_levels(result) if deep else Image.fromarray(result)


def _in_fine_levels(image: Image.Image, deep: bool) -> np.ndarray:
    """(height, width, 3) in levels of 0 to 255; float32 with fractions, or uint8."""
    return scaled(image) / np.float32(SCALE) if deep else np.asarray(image)


def surroundings(hole: np.ndarray) -> Box:
    """Rows and columns of a hole, True somewhere in (height, width), and of what is near it."""
    extent = max(int(np.ptp(np.flatnonzero(hole.any(axis)))) for axis in (0, 1))
    return bounds(hole, max(LEAST_MARGIN, round(MARGIN * extent)))


def matched(lq: Tensor, reference: Tensor, hole: Tensor, enough: int = ENOUGH) -> Tensor:
    """Pictures in the tone that their kept regions have in the reference, slow drifts taken out, kept region included.

    Args:
        lq: (B, 3, H, W), uint8 or float in [0, 1].
        reference: (B, 3, H s, W s), likewise; hole: (B, 1, H s, W s), not 0 where it says nothing.
        enough: pixels that a fit of the tone looks at.

    Returns:
        (B, 3, H, W), float32 in [0, 1], on lq's device; a picture of which nothing is kept stays as it is.
    """
    size = lq.shape[-2:]
    known = F.interpolate(_in_levels(reference), size, mode="area")
    painted = _in_levels(lq)
    hidden = F.adaptive_max_pool2d(hole.float(), size)
    looked_at = torch.cat([painted, known, hidden], dim=1).permute(0, 2, 3, 1).cpu().numpy()  # at once: one wait
    for picture, seen in zip(painted, looked_at, strict=True):
        kept = seen[..., 6] == 0
        if kept.any():
            toned = levelled(seen[..., :3], seen[..., 3:6], kept, enough=enough)
            picture.copy_(torch.from_numpy(toned).permute(2, 0, 1))
    return (painted / 255).clamp(0, 1)


def _in_levels(pictures: Tensor) -> Tensor:
    """A float32 copy in 0 to 255."""
    return pictures.float() if pictures.dtype == torch.uint8 else pictures.float() * 255


def check_sizes(image: Image.Image, reference: Image.Image, mask: Image.Image) -> None:
    """See that picture, reference and mask fit together.

    Raises:
        UserError: when the three are not of one size.
    """
    for name, other in (("reference", reference), ("mask", mask)):
        if other.size != image.size:
            raise UserError(
                f"the {name} is {other.width}x{other.height}, but the picture is {image.width}x{image.height}; "
                f"give a {name} of the picture's size."
            )
