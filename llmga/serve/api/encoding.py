"""Pictures on their way out: PNG, JPEG or WEBP, as base64 or as a data: URI."""

import base64
import io

from PIL import Image

from llmga.images import to_rgb
from llmga.serve.provenance import Record, png_bytes

USUAL_QUALITY = 95


def encoded(image: Image.Image, record: Record, form: str = "png", quality: int | None = None) -> str:
    """A finished picture in base64.

    Args:
        form: png (which keeps the record of how the picture was made), jpeg or webp.
        quality: of JPEG and WEBP, 0 to 100.
    """
    if form == "png":
        return _text(png_bytes(image, record))
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, form, quality=USUAL_QUALITY if quality is None else quality)
    return _text(buffer.getvalue())


def preview(image: Image.Image) -> str:
    """A small picture of an unfinished painting, as PNG in base64."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _text(buffer.getvalue())


def data_uri(content: str, form: str = "png") -> str:
    """Base64 as an address."""
    return f"data:image/{form};base64,{content}"


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
