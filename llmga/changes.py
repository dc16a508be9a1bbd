"""How much of a picture is another one after it was changed by words: what a painter that repaints all of it kept."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.typed import within

LEVELS = 16  # of 255: what encoding and decoding alone may do to a pixel
AVERAGED = 256  # a difference is averaged over this part of the longer side, so that single pixels are no change


@dataclass(frozen=True)
class Change:
    """What differs by more than `LEVELS` in a channel.

    Attributes:
        share: of all pixels, 0 to 1.
        box: left, top, right, bottom of what they lie in; None where nothing changed.
    """

    share: Annotated[float, within(0, 1)]
    box: tuple[int, int, int, int] | None

    def __str__(self) -> str:
        if self.box is None:
            return "nothing changed"
        left, top, right, bottom = self.box
        return f"changed {max(self.share, 0.001):.1%} of the picture, within {left},{top} to {right},{bottom}"


def change(before: Image.Image, after: Image.Image) -> Change:
    """What changed between two pictures of one size and any modes, seen on white.

    Raises:
        UserError: the sizes differ.
    """
    if before.size != after.size:
        raise UserError(f"pictures of {before.size} and {after.size} cannot be compared; give two of one size.")
    difference = ImageChops.difference(to_rgb(before), to_rgb(after))
    if radius := max(difference.size) // AVERAGED // 2:
        difference = difference.filter(ImageFilter.BoxBlur(radius))
    changed = np.asarray(difference).max(-1) > LEVELS
    return Change(float(changed.mean()), Image.fromarray(changed).getbbox())
