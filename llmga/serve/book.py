"""A picture book to read: one HTML file that needs nothing beside it, and a PDF."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from llmga.errors import UserError
from llmga.files import file_in
from llmga.images import open_image
from llmga.serve.story import Story

PAGE = (595, 595)  # points, 21 cm
MARGIN, LEADING, TITLE_SIZE = 42, 1.35, 26
TEXT_SIZES = (14, 12, 10, 8, 6)
SMALL = 512  # pixels: smaller pictures are enlarged without smoothing, or readers would blur them
CHINESE = "STSong-Light"  # a font that every reader of PDF brings along
HEAD = """<!DOCTYPE html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ max-width: 44rem; margin: auto; padding: 1rem; font: 1.2rem/1.6 serif; }}
figure {{ margin: 3rem 0; break-inside: avoid; }}
img {{ width: 100%; image-rendering: auto; border-radius: .3rem; }}
figcaption {{ margin-top: 1rem; }}
</style></head><body><h1>{title}</h1>
"""


def to_html(story: Story, folder: Path, language: str = "en") -> bytes:
    """The book as one page of HTML, its pictures inside.

    Raises:
        UserError: a picture is missing.
    """
    parts = [HEAD.format(title=html.escape(story.title), language=language)]
    for number, page in enumerate(story.pages, 1):
        data = base64.b64encode(_file(folder, page.picture, number)).decode()
        alt, text = html.escape(page.prompt, quote=True), html.escape(page.text)
        parts.append(f'<figure><img alt="{alt}" src="data:image/png;base64,{data}">\n<figcaption>{text}</figcaption>'
                     "</figure>\n")  # fmt: skip
    return "".join([*parts, "</body></html>\n"]).encode()


def to_pdf(story: Story, folder: Path) -> bytes:
    """The book, a square page for each, after one with the title; the same story gives the same bytes.

    Raises:
        UserError: a picture is missing, or reportlab is.
    """
    try:
        from reportlab.pdfgen.canvas import Canvas
    except ImportError:
        raise UserError("a PDF needs the package reportlab; install llmga[serve].") from None
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=PAGE, invariant=1)
    canvas.setTitle(story.title)
    _write(canvas, story.title, PAGE[1] / 2 + TITLE_SIZE, TITLE_SIZE)
    canvas.showPage()
    for number, page in enumerate(story.pages, 1):
        size = _size(page.text)
        below = MARGIN + _height(page.text, size)
        _draw(canvas, _picture(folder, page.picture, number), below + MARGIN / 2)
        _write(canvas, page.text, below - size, size)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _file(folder: Path, name: str | None, number: int) -> bytes:
    try:  # a story may come from anybody: only what is beside it is opened
        return file_in(folder, Path(name or "").name).read_bytes()
    except OSError:
        raise UserError(f"the picture of page {number} ({name}) is not in {str(folder)!r}; paint it again.") from None


def _picture(folder: Path, name: str | None, number: int) -> Image.Image:
    content = _file(folder, name, number)
    try:
        return open_image(content)
    except UserError:
        raise UserError(f"the picture of page {number} ({name}) in {str(folder)!r} cannot be read; delete it, and run "
                        "this again.") from None  # fmt: skip


def _draw(canvas: Any, picture: Image.Image, bottom: float) -> None:
    """As large as it fits above the text, in the middle."""
    from reportlab.lib.utils import ImageReader

    if max(picture.size) < SMALL:
        times = -(-SMALL // max(picture.size))
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    room = PAGE[0] - 2 * MARGIN, max(PAGE[1] - MARGIN - bottom, PAGE[1] / 4)
    scale = min(room[0] / picture.width, room[1] / picture.height)
    width, height = picture.width * scale, picture.height * scale
    canvas.drawImage(ImageReader(picture), (PAGE[0] - width) / 2, PAGE[1] - MARGIN - height, width, height)


def _size(text: str) -> float:
    """The largest size of letters at which the text leaves half of the page to the picture."""
    return next((size for size in TEXT_SIZES if _height(text, size) <= PAGE[1] / 2 - MARGIN), TEXT_SIZES[-1])


def _height(text: str, size: float) -> float:
    return len(_lines(text, size)) * size * LEADING


def _write(canvas: Any, text: str, top: float, size: float) -> None:
    for number, line in enumerate(_lines(text, size)):
        canvas.setFont(_font(text), size)
        canvas.drawCentredString(PAGE[0] / 2, top - number * size * LEADING, line)


def _lines(text: str, size: float) -> Sequence[str]:
    """The text in lines that fit; where a script has no spaces, between any two characters."""
    from reportlab.lib.utils import simpleSplit
    from reportlab.pdfbase.pdfmetrics import stringWidth

    font, width = _font(text), PAGE[0] - 2 * MARGIN
    if font != CHINESE:
        return simpleSplit(text, font, size, width)
    lines = [""]
    for character in text:
        if character == "\n" or stringWidth(lines[-1] + character, font, size) > width:
            lines.append("")
        lines[-1] += character.strip("\n")
    return lines


def _font(text: str) -> str:
    """Times where it has every letter, else a font for Chinese, Japanese and most others."""
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        from reportlab.pdfbase.cidfonts import UnicodeCIDFont
        from reportlab.pdfbase.pdfmetrics import registerFont

        registerFont(UnicodeCIDFont(CHINESE))
        return CHINESE
    return "Times-Roman"
