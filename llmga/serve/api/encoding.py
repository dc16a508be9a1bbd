"""Pictures on their way out: PNG, JPEG or WEBP, as base64 or as a data: URI."""

import base64
import io

from PIL import Image

from llmga.assistant import image_files
from llmga.assistant.record import Record


def encoded(image: Image.Image, record: Record, form: str = "png", quality: int | None = None) -> str:
    """A finished picture in base64.

    Args:
        form: png, jpeg or webp; each keeps the record of how the picture was made.
        quality: of JPEG and WEBP, 0 to 100.
    """
    return _text(image_files.encoded(image, record, form, quality=None if quality is None else max(1, quality)))


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
