"""Pictures as they travel: those of strangers bounded and decoded defensively, painted ones encoded."""

import base64
import binascii
import io
import re
from contextlib import suppress
from functools import cache

from PIL import Image, ImageCms

from llmga.assistant import image_files
from llmga.assistant.credentials import Signer
from llmga.assistant.events import PictureReady
from llmga.errors import UserError
from llmga.images import HEIF, open_image, reduced, to_rgb
from llmga.serve.api.errors import ApiError
from llmga.serve.api.options import RequestLimits

# What a browser or a camera makes.  Pillow opens many more, some by programs of their own (EPS by Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", HEIF)
MAX_SCANS = 200  # of a JPEG; a progressive one has about ten, and each is a pass over all pixels
DATA_URI = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream);base64,", re.ASCII)


@cache
def formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this build of Pillow opens; HEIF is another package's."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN or name == HEIF)


def from_data_uri(uri: str, limits: RequestLimits) -> bytes:
    """Return the bytes of `data:image/png;base64,…`.

    Raises:
        ApiError: 400 where it is none; 413 where it is too long.
    """
    head = DATA_URI.match(uri)
    if head is None:
        raise ApiError(400, "a picture has to come as 'data:image/…;base64,…'.", code="invalid_image_url")
    return from_base64(uri[head.end() :], limits)


def from_base64(body: str, limits: RequestLimits) -> bytes:
    """Return the bytes of base64, which may have the head of a data URI.

    Raises:
        ApiError: 400 where it is none; 413 where it is too long.
    """
    if head := DATA_URI.match(body):
        body = body[head.end() :]
    if len(body) > limits.picture * 4 // 3 + 1000:
        raise too_many_bytes(limits)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "the base64 text of a picture is broken.", code="invalid_image_url") from None


def too_many_bytes(limits: RequestLimits) -> ApiError:
    """Return the refusal of a picture with too many bytes."""
    return ApiError(413, f"a picture has more than {limits.picture:,} bytes; scale it down.", code="image_too_large")


def decode_image(content: bytes, limits: RequestLimits, *, exact: bool = False) -> Image.Image:
    """Return the picture in these bytes, upright and in the colours of sRGB.

    Args:
        exact: Keep mode, size, bit depth and colour profile, for a picture that is to be changed.

    Raises:
        ApiError: 413 for too many bytes.
        UserError: It has too many pixels, is broken, or of another format than `FORMATS`.
    """
    if len(content) > limits.picture:
        raise too_many_bytes(limits)
    if content.startswith(b"\xff\xd8") and content.count(b"\xff\xda") > MAX_SCANS:
        raise UserError(f"the uploaded picture is a JPEG of more than {MAX_SCANS} scans; save it again.")
    try:
        image = open_image(content, exact=True, formats=formats(), max_pixels=limits.pixels)
        return image if exact else reduced(to_rgb(in_srgb(image)))
    except (UserError, MemoryError):
        raise
    except Exception:  # a decoder that meets what it was not made for may raise anything
        raise UserError("the uploaded picture is broken; save it again as PNG, JPEG or WEBP.") from None


def in_srgb(image: Image.Image) -> Image.Image:
    """Return the picture with its own colour profile, if it has a usable one, taken into account."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):  # a broken profile is none
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return (
            ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode) or image
        )  # None only in place
    return image


def to_base64(ready: PictureReady, form: str = "png", quality: int | None = None, signer: Signer | None = None) -> str:
    """Return the file of a finished picture, which says how it was made, as base64.

    Args:
        form: png, jpeg or webp.
        quality: Of JPEG and WEBP, 0 to 100.
        signer: Signs the file.
    """
    best = None if quality is None else max(1, quality)
    content = image_files.encoded(ready.image, ready.record, form, quality=best, signer=signer, parent=ready.parent)
    return base64.b64encode(content).decode()


def preview_to_base64(image: Image.Image) -> str:
    """Return a picture of an unfinished painting as PNG in base64."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def to_data_uri(content: str, form: str = "png") -> str:
    """Return base64 as an address."""
    return f"data:image/{form};base64,{content}"
