"""What was painted goes into the picture; every other pixel stays, bit for bit."""

import numpy as np
from PIL import Image

from llmga import deep
from llmga.errors import UserError
from llmga.images import white_of

# What cannot hold every colour, or not plainly, is widened without loss; all else stays as it is.
WIDENED = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB"}
TRANSPARENT = {"L": "LA", "RGB": "RGBA"}
PASTED = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV")  # 8 bits a channel, or more beside it (`llmga.deep`)
DEEP = ("I;16", "I;16L", "I;16B", "I", "F")  # gray of more than 8 bits, as `images.to_rgb` reads them


def able_to_hold(picture: Image.Image) -> Image.Image:
    """A copy of the picture in a mode that takes any colour: a palette becomes RGB, a bitmap gray.

    Raises:
        UserError: for a mode that cannot be painted into.
    """
    mode = WIDENED.get(picture.mode, picture.mode)
    if picture.has_transparency_data:
        mode = TRANSPARENT.get(mode, mode)
    if mode not in (*PASTED, *DEEP):
        raise UserError(f"a picture of mode {mode} cannot be painted into; save it as RGB first.")
    return picture.copy() if mode == picture.mode else picture.convert(mode)


def paste_back(picture: Image.Image, painted: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with `painted` where the mask is white.

    Bit depth, transparency and colour profile are the picture's; painted pixels are opaque.

    Args:
        picture: of any mode.
        painted: RGB, of the picture's size.
        mask: mode L, of the picture's size; 255 takes the painted pixel, 0 keeps the old one, between is a mix.

    Raises:
        UserError: for a mode that cannot be painted into.
    """
    result = able_to_hold(picture)
    if (fine := deep.mixed(result, painted, mask)) is not None:
        return fine
    if result.mode in PASTED:
        result.paste(painted.convert(result.mode), mask=mask)
        return result
    before = np.asarray(result)
    weight = np.asarray(mask, dtype=np.float64) / 255
    new = np.asarray(painted.convert("L"), dtype=np.float64) * (white_of(result) / 255)
    mixed = before * (1 - weight) + new * weight
    mixed = np.where(weight == 0, before, mixed if before.dtype.kind == "f" else np.rint(mixed)).astype(before.dtype)
    gray = Image.fromarray(mixed)
    gray.info = dict(result.info)
    return gray
