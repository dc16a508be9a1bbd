"""Pictures that visitors put in."""

from pathlib import Path

from PIL import Image

from llmga.images import MAX_PIXELS
from llmga.serve.api.image_data import decode_image
from llmga.serve.api.options import RequestLimits

UPLOADS = RequestLimits(picture=2**26, pixels=MAX_PIXELS)  # gradio lets no larger file in, see `serving`
OF_PHONES = (".heic", ".heif")


def opened(path: str) -> Image.Image:
    """A picture that a visitor has uploaded.

    Raises:
        UserError: it cannot be read, or is too large.
    """
    return decode_image(Path(path).read_bytes(), UPLOADS, exact=True)


def browsable(path: str, image: Image.Image) -> str:
    """The file of a picture as every browser shows it: of one of a phone (HEIC), a PNG beside it."""
    if Path(path).suffix.lower() not in OF_PHONES:
        return path
    image.save(shown := Path(path).with_suffix(".png"))
    return str(shown)
