"""What was marked or grown, seen on the picture: in the message that was sent, as on the canvas."""

import numpy as np
from PIL import Image

from llmga.assistant.session import Turn
from llmga.diffusers.canvas import Canvas
from llmga.errors import UserError
from llmga.images import to_rgb

LEAST, MOST = 256, 512  # longer side in pixels of what is shown
# Stripes from the top right to the bottom left, of which one differs from any picture: how wide, of which colour, and
# how much of the picture they hide.
STRIPES = ((3, (79, 70, 229), 0.85), (3, (255, 255, 255), 0.95), (3, (0, 0, 0), 0.9), (3, (0, 0, 0), 0.0))


def marked(turn: Turn) -> Image.Image | None:
    """The first picture of a turn, hatched where it was to be painted anew; None where it was to stay.

    Returns:
        RGB, its longer side `LEAST` to `MOST` pixels.
    """
    if not turn.images or (turn.mask is None and turn.outpaint is None):
        return None
    picture = to_rgb(turn.images[0])
    if turn.mask is not None:
        picture = _sized(picture)
        mask = turn.mask.convert("L").resize(picture.size, Image.Resampling.BILINEAR)
        return _hatched(picture, np.asarray(mask))
    assert turn.outpaint is not None
    try:
        canvas = Canvas.parse(turn.outpaint, picture.size)
    except UserError:  # a session that came from elsewhere
        return None
    whole, new = Image.new("RGB", canvas.size), Image.new("L", canvas.size, 255)
    whole.paste(picture, canvas.box)
    new.paste(0, canvas.box)
    whole = _sized(whole)
    return _hatched(whole, np.asarray(new.resize(whole.size, Image.Resampling.NEAREST)))


def _sized(picture: Image.Image) -> Image.Image:
    """The picture at a size at which stripes are seen; pixel pictures stay crisp."""
    longest = max(picture.size)
    scale = max(LEAST / longest, 1) if longest < LEAST else min(MOST / longest, 1)
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), way)


def _hatched(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """Stripes over a picture (H, W, 3) where the mask (H, W) says so, which has 0 to 255."""
    row, column = np.indices(mask.shape)
    stripe = np.repeat(np.arange(len(STRIPES)), [wide for wide, _, _ in STRIPES])
    which = stripe[(row + column) % len(stripe)]
    colour = np.array([colour for _, colour, _ in STRIPES], np.float32)[which]
    hides = np.array([share for _, _, share in STRIPES], np.float32)[which] * (mask / 255)
    mixed = np.asarray(picture, np.float32) * (1 - hides[..., None]) + colour * hides[..., None]
    return Image.fromarray(mixed.round().astype(np.uint8))
