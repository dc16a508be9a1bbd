"""Pictures from strangers: bounded in bytes, pixels and number, and decoded defensively."""

import base64
import binascii
import io
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageCms

from llmga.errors import UserError
from llmga.images import open_image, reduced, to_rgb
from llmga.serve.api.errors import ApiError

# What a browser or a camera makes.  Pillow opens many more, some by programs of their own (EPS by Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MOST_SCANS = 200  # of a JPEG; a progressive one has about ten, and each is a pass over all pixels
DATA_URI = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream);base64,", re.ASCII)


@dataclass(frozen=True)
class Limits:
    """What a client may send.

    Attributes:
        body: bytes of a whole request.
        json: bytes of a request's JSON beside its pictures.
        picture: bytes of one picture.
        pixels: of one picture.
        pictures: of one request.
    """

    body: int = 64_000_000
    picture: int = 20_000_000
    pixels: int = 25_000_000
    pictures: int = 16
    json: int = 1_000_000


@cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow opens."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def from_data_uri(uri: str, limits: Limits) -> bytes:
    """The bytes of `data:image/png;base64,…`.  Raises: ApiError."""
    head = DATA_URI.match(uri)
    if head is None:
        raise ApiError(400, "a picture has to come as 'data:image/…;base64,…'.", code="invalid_image_url")
    body = uri[head.end() :]
    if len(body) > limits.picture * 4 // 3 + 1000:
        raise too_many_bytes(limits)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "the base64 text of a picture is broken.", code="invalid_image_url") from None


def too_many_bytes(limits: Limits) -> ApiError:
    """What a client is told whose picture is too heavy."""
    return ApiError(413, f"a picture has more than {limits.picture:,} bytes; scale it down.", code="image_too_large")


def decode(content: bytes, limits: Limits, *, exact: bool = False) -> Image.Image:
    """The picture in these bytes, upright and in the colours of sRGB.

    Args:
        exact: keep mode, size, bit depth and colour profile, for a picture that is to be changed.

    Raises: ApiError or UserError when it is too large, broken, or of another format than `FORMATS`.
    """
    if len(content) > limits.picture:
        raise too_many_bytes(limits)
    if content.startswith(b"\xff\xd8") and content.count(b"\xff\xda") > MOST_SCANS:
        raise UserError(f"the uploaded picture is a JPEG of more than {MOST_SCANS} scans; save it again.")
    try:
        image = open_image(content, exact=True, formats=formats(), max_pixels=limits.pixels)
        return image if exact else reduced(to_rgb(in_srgb(image)))
    except (UserError, MemoryError):
        raise
    except Exception:  # a decoder that meets what it was not made for may raise anything
        raise UserError("the uploaded picture is broken; save it again as PNG, JPEG or WEBP.") from None


def in_srgb(image: Image.Image) -> Image.Image:
    """The picture with its own colour profile, if it has a usable one, taken into account."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):  # a broken profile is none
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    return image
