"""What was drawn on a picture, as the browser reports it: see `easel.js`."""

import base64
import json
from dataclasses import dataclass

from PIL import Image

from llmga.diffusers.canvas import SIDES
from llmga.errors import UserError
from llmga.images import open_image

LARGEST_REPORT = 8_000_000  # characters: a mask has at most 1024 pixels on a side
MOST = 50  # percent that a side grows at most at once
HEAD = "data:image/png;base64,"


@dataclass(frozen=True)
class Marks:
    """What is to be painted anew of a picture of the conversation.

    Attributes:
        picture: its number; None while nothing lies on the canvas.
        drawn: the mask as it was drawn, of any size, white where it is to be painted anew.
        outpaint: how the picture is to grow, as `Canvas.parse` takes it; in place of a mask.
    """

    picture: int | None = None
    drawn: Image.Image | None = None
    outpaint: str | None = None

    @classmethod
    def read(cls, report: str) -> "Marks":
        """Raises: UserError for what the page's own script would never send."""
        try:
            told = json.loads(report[: LARGEST_REPORT + 1] or "{}")
            if len(report) > LARGEST_REPORT or not isinstance(told, dict):
                raise ValueError(report)
            if told.get("picture") is None:
                return cls()
            grown = {side: float(told.get(side, 0)) for side in SIDES}
            if not all(0 <= extent <= MOST for extent in grown.values()):
                raise ValueError(grown)
            picture, drawn = int(told["picture"]), _decoded(str(told.get("mask", "")))
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise UserError("what was drawn cannot be read; wipe the canvas and draw again.") from None
        sides = ",".join(f"{side}={extent:.0f}%" for side, extent in grown.items() if extent >= 0.5)
        return cls(picture, None if sides else drawn, sides or None)

    def mask(self, size: tuple[int, int]) -> Image.Image | None:
        """The mask at the picture's size (width, height)."""
        return self.drawn and self.drawn.convert("L").resize(size, Image.Resampling.BILINEAR)


def _decoded(uri: str) -> Image.Image | None:
    if not uri:
        return None
    return open_image(base64.b64decode(uri.removeprefix(HEAD), validate=True))
