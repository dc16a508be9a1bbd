"""Contact sheets: pictures in rows, each over its caption.

`python -m llmga.toyworld.world sheet --seed 3 --output sheet.png` shows what the world looks like.
"""

import random
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from llmga.toyworld.world.captions import canonical
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.layout import SIDE
from llmga.toyworld.world.sampling import random_scene

ZOOM = 2
GAP = 12
LETTERS = 34  # in a line of a caption, at twice the size
LINE, LINES = 13, 6
PAPER, INK = (252, 252, 250), (60, 60, 66)


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[str], columns: int = 6) -> Image.Image:
    """Pictures of the world's size, enlarged, over their captions."""
    wide, high = SIDE * ZOOM, SIDE * ZOOM + LINE * LINES
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (wide + GAP) + GAP, rows * (high + GAP) + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * (wide + GAP), GAP + row * (high + GAP)
        sheet.paste(picture.resize((wide, wide), Image.Resampling.LANCZOS), (left, top))
        words = "\n".join(textwrap.wrap(caption, LETTERS, max_lines=LINES, placeholder=" …"))
        pen.multiline_text((left, top + wide + 2), words, fill=INK, font=font, spacing=1)
    return sheet


def drawn_sheet(count: int, columns: int, seed: int) -> Image.Image:
    """Random scenes, as many of one thing as of two and of three."""
    rng = random.Random(seed)
    scenes = [random_scene(rng, 1 + 3 * number // count) for number in range(count)]
    return contact_sheet([draw(scene) for scene in scenes], [canonical(scene) for scene in scenes], columns)
