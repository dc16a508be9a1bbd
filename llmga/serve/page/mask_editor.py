"""The mask editor: where a person marks a part of a picture or grows it.

What it does in the browser is in three scripts, which are one function there: `canvas_marks.js` (what was done, as
data), `canvas_view.js` (how it is seen) and `mask_editor.js` (mouse, pen, finger and keys).

`gr.ImageEditor` has a brush, an eraser and layers, but can neither grow a picture nor be used by keys, marks in colour
alone, and sends the whole picture back with every stroke, so it is not what stands here.
"""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter

from llmga.diffusers.canvas import SIDES
from llmga.errors import UserError
from llmga.images import open_image
from llmga.serve.page.strings import STRINGS

HERE = Path(__file__).parent
SCRIPTS = ("canvas_marks.js", "canvas_view.js", "mask_editor.js")
LARGEST_REPORT = 8_000_000  # characters: a mask has at most 1024 pixels on a side
MOST = 200  # percent that a side grows at most at once
SOFTEST = 10  # percent of the longer side that an edge is feathered at most
HEAD = "data:image/png;base64,"
ASPECTS = ("1:1", "3:4", "4:3", "16:9", "9:16")  # that a picture may grow to

# name -> the strokes of its icon, in a square of 24
_ICONS = {
    "brush": "M20 4 10 14M8 13c-3 0-4 2-4 7 5 0 7-1 7-4a3 3 0 0 0-3-3Z",
    "eraser": "m4 15 9-10 7 6-8 9H8ZM9 10l7 6M12 20h8",
    "rectangle": "M4 6h16v12H4Z",
    "lasso": "M12 4c5 0 9 2 9 6s-4 6-9 6-9-2-9-6 4-6 9-6ZM6 15c-2 2 0 4 2 3s2 3 0 3",
    "grow": "M9 9h6v6H9ZM4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4",
    "undo": "M9 5 4 10l5 5M4 10h10a6 6 0 0 1 0 10h-3",
    "redo": "m15 5 5 5-5 5M20 10H10a6 6 0 0 0 0 10h3",
    "invert": "M4 4h16v16H4ZM4 20 20 4M8 20l12-12M14 20l6-6",
    "wipe": "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
    "farther": "M10 4a6 6 0 1 1 0 12 6 6 0 0 1 0-12ZM15 15l5 5M7 10h6",
    "nearer": "M10 4a6 6 0 1 1 0 12 6 6 0 0 1 0-12ZM15 15l5 5M7 10h6M10 7v6",
    "fit": "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4",
    "expand": "M4 14v6h6M20 10V4h-6M4 20l7-7M20 4l-7 7",
}
# (attribute, name, key that does the same): what stands in the bar, in groups
_BAR = (
    (("tool", "brush", "B"), ("tool", "eraser", "E"), ("tool", "rectangle", "R"), ("tool", "lasso", "L"),
     ("tool", "grow", "G")),
    (("act", "undo", "Ctrl+Z"), ("act", "redo", "Ctrl+Y"), ("act", "invert", "I"), ("act", "wipe", "")),
    (("act", "farther", ""), ("act", "fit", "0"), ("act", "nearer", "Z"), ("act", "expand", "F")),
)  # fmt: skip
# (keys, key of the string that says what they do)
_SHORTCUTS = (
    ("B E R L G", "keys tools"),
    ("[ ]", "keys width"),
    ("Ctrl+Z Ctrl+Y", "keys undo"),
    ("I", "keys invert"),
    ("Z Shift+Z 0", "keys zoom"),
    ("Space", "keys pan"),
    ("F Esc", "keys expand"),
    ("Alt", "keys alt"),
    ("Shift", "keys shift"),
    ("← ↑ → ↓ Enter", "keys cross"),
)
# What the script says by itself.
SAID = ("canvas begin", "marked share", "grown to", "grown instead", "nothing marked", "say what")


def _button(kind: str, name: str, key: str) -> str:
    shortcut = f' data-key="{key}" aria-keyshortcuts="{key.replace("Ctrl", "Control")}"' if key else ""
    pressed = ' aria-pressed="false"' if kind == "tool" or name == "expand" else ""
    return (
        f'<button type="button" data-{kind}="{name}" data-hint="canvas {name}"{shortcut}{pressed}>'
        f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{_ICONS[name]}"/></svg></button>'
    )


def _slider(name: str, least: int, most: float, value: int, step: float) -> str:
    return (
        f'<label><span data-word="canvas {name}"></span>'
        f'<input type="range" name="{name}" min="{least}" max="{most}" value="{value}" step="{step}"></label>'
    )


def _handle(side: str) -> str:
    upright = ' aria-orientation="vertical"' if side in ("top", "bottom") else ""
    return (
        f'<button type="button" class="handle" role="slider" aria-valuemin="0" aria-valuemax="{MOST}" '
        f'aria-valuenow="0" data-side="{side}" data-hint="{side}"{upright}></button>'
    )


def _keys(keys: str) -> str:
    return " ".join(f"<kbd>{key}</kbd>" for key in keys.split())


def _aspect(name: str) -> str:
    shape = f'<i style="aspect-ratio:{name.replace(":", "/")}"></i>'
    return f'<button type="button" data-aspect="{name}">{shape}{name}</button>'


def _joined(parts: Iterable[str]) -> str:
    return "".join(parts)


TEMPLATE = f"""
<div class="mask-editor empty"><p class="none" data-word="no canvas"></p><div class="work">
<div class="bar" role="toolbar" data-hint="canvas tools">
{_joined(f'<span class="group">{_joined(_button(*each) for each in group)}</span>' for group in _BAR)}
</div>
<div class="bar marking">{_slider("width", 1, 50, 16, 1)}{_slider("feather", 0, SOFTEST, 0, 0.5)}</div>
<div class="bar aspects" role="group" data-hint="canvas aspects"><span data-word="canvas aspects"></span>
{_joined(map(_aspect, ASPECTS))}
</div>
<div class="stage"><canvas tabindex="0" role="application" data-hint="canvas help"></canvas>
{_joined(_handle(side) for side in SIDES)}
</div>
<div class="end"><p class="status" role="status"></p>
<button type="button" class="back" data-act="back" data-word="canvas back"></button>
<button type="button" class="primary" data-act="paint" data-word="canvas paint"></button></div>
<details class="keys"><summary data-word="canvas keys"></summary><p data-word="canvas help"></p><ul>
{_joined(f'<li><span>{_keys(keys)}</span><span data-word="{word}"></span></li>' for keys, word in _SHORTCUTS)}
</ul></details>
</div></div>"""  # fmt: skip
KEYS = (*dict.fromkeys(re.findall(r'data-(?:word|hint)="(.+?)"', TEMPLATE)), *SAID)


def script() -> str:
    """The source of what it does in the browser."""
    return "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS)


def opened(language: str, picture: int | None = None, url: str = "", tool: str = "brush") -> str:
    """What the browser is given: a picture of the conversation to draw on, or none.

    Args:
        tool: the one that is at hand then.
    """
    return json.dumps({"words": _words(language), "picture": picture, "url": url, "tool": tool})


def relabelled(language: str) -> str:
    """What the browser is given when the language changes; what was drawn stays."""
    return json.dumps({"words": _words(language), "keep": True, "picture": None})


def _words(language: str) -> dict[str, str]:
    return {key: STRINGS[language][key] for key in KEYS}


@dataclass(frozen=True)
class EditorValue:
    """What the browser gives back: what is to be painted anew of a picture of the conversation.

    Attributes:
        picture: its number; None while no picture is open.
        drawing: the mask as it was drawn, of any size, white where it is to be painted anew.
        outpaint: how the picture is to grow, as `Canvas.parse` takes it; in place of a mask.
        feather: how wide the mask's edge is, in percent of the picture's longer side, 0 to `SOFTEST`.
    """

    picture: int | None = None
    drawing: Image.Image | None = None
    outpaint: str | None = None
    feather: float = 0.0

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
            grown = {side: _within(given.get(side, 0), MOST) for side in SIDES}
            feather = _within(given.get("feather", 0), SOFTEST)
            picture, drawing = int(given["picture"]), _decoded(str(given.get("mask", "")))
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise UserError("what was drawn cannot be read; wipe the canvas and draw again.") from None
        sides = ",".join(f"{side}={round(extent, 2):g}%" for side, extent in grown.items() if extent >= 0.5)
        if sides:
            return cls(picture, None, sides)
        return cls(picture, drawing, None, feather)

    def mask(self, size: tuple[int, int]) -> Image.Image | None:
        """The mask at the picture's size (width, height); grey where its edge is feathered."""
        if self.drawing is None:
            return None
        mask = self.drawing.convert("L").resize(size, Image.Resampling.BILINEAR)
        return mask.filter(ImageFilter.GaussianBlur(self.feather / 100 * max(size) / 2)) if self.feather else mask


def _within(value: object, most: float) -> float:
    """Raises: ValueError when it is no number from 0 to `most`."""
    if not 0 <= (number := float(str(value))) <= most:
        raise ValueError(value)
    return number


def _decoded(uri: str) -> Image.Image | None:
    if not uri:
        return None
    return open_image(base64.b64decode(uri.removeprefix(HEAD), validate=True))
