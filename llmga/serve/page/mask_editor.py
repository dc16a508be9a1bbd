"""The mask editor: where a person draws on a picture or grows it.  What it does in the browser is `mask_editor.js`."""

import base64
import json
import re
from dataclasses import dataclass

from PIL import Image

from llmga.diffusers.canvas import SIDES
from llmga.errors import UserError
from llmga.images import open_image
from llmga.serve.page.strings import STRINGS

LARGEST_REPORT = 8_000_000  # characters: a mask has at most 1024 pixels on a side
MOST = 50  # percent that a side grows at most at once
HEAD = "data:image/png;base64,"
HANDLE = (
    '<button type="button" class="handle" role="slider" aria-valuemin="0" aria-valuemax="50" aria-valuenow="0" '
    'data-side="{0}" data-hint="{0}"></button>'
)
TEMPLATE = f"""
<div class="mask-editor empty"><p class="none" data-word="no canvas"></p><div class="work">
<div class="bar">
<button type="button" data-mode="brush" data-word="brush" aria-pressed="true"></button>
<button type="button" data-mode="eraser" data-word="eraser"></button>
<button type="button" data-mode="grow" data-word="grow"></button>
<button type="button" data-word="unmark"></button>
<button type="button" data-word="wipe"></button>
<label><span data-word="width"></span><input type="range" min="2" max="50" value="16"></label>
</div>
<div class="stage"><canvas tabindex="0" role="img" data-hint="canvas help"></canvas>
{"".join(HANDLE.format(side) for side in SIDES)}
</div>
<p class="help" data-word="canvas help"></p>
</div></div>"""
KEYS = tuple(dict.fromkeys(re.findall(r'data-(?:word|hint)="(.+?)"', TEMPLATE)))


def opened(language: str, picture: int | None = None, url: str = "") -> str:
    """What the browser is given: a picture of the conversation to draw on, or none."""
    strings = {key: STRINGS[language][key] for key in KEYS}
    return json.dumps({"words": strings, "picture": picture, "url": url})


@dataclass(frozen=True)
class EditorValue:
    """What the browser gives back: what is to be painted anew of a picture of the conversation.

    Attributes:
        picture: its number; None while no picture is open.
        drawing: the mask as it was drawn, of any size, white where it is to be painted anew.
        outpaint: how the picture is to grow, as `Canvas.parse` takes it; in place of a mask.
    """

    picture: int | None = None
    drawing: Image.Image | None = None
    outpaint: str | None = None

    @classmethod
    def read(cls, report: str) -> "EditorValue":
        """The value that a report of the browser states; the empty one for an empty report.

        Raises:
            UserError: the page's own script would never send it.
        """
        try:
            given = json.loads(report[: LARGEST_REPORT + 1] or "{}")
            if len(report) > LARGEST_REPORT or not isinstance(given, dict):
                raise ValueError(report)
            if given.get("picture") is None:
                return cls()
            grown = {side: float(given.get(side, 0)) for side in SIDES}
            if not all(0 <= extent <= MOST for extent in grown.values()):
                raise ValueError(grown)
            picture, drawing = int(given["picture"]), _decoded(str(given.get("mask", "")))
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise UserError("what was drawn cannot be read; wipe the canvas and draw again.") from None
        sides = ",".join(f"{side}={extent:.0f}%" for side, extent in grown.items() if extent >= 0.5)
        return cls(picture, None if sides else drawing, sides or None)

    def mask(self, size: tuple[int, int]) -> Image.Image | None:
        """The mask at the picture's size (width, height)."""
        return self.drawing and self.drawing.convert("L").resize(size, Image.Resampling.BILINEAR)


def _decoded(uri: str) -> Image.Image | None:
    if not uri:
        return None
    return open_image(base64.b64decode(uri.removeprefix(HEAD), validate=True))
