"""Pictures in: opened once, defensively, upright and in RGB."""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from PIL import Image, ImageOps

from llmga.deep import with_levels
from llmga.errors import UserError

MAX_PIXELS = 64_000_000  # 192 MB as RGB; beyond it a picture is scaled while decoding (JPEG) or refused
MAX_SIDE = 65_000
WORKING_SIDE = 2048  # longer sides are reduced to this on opening unless the caller wants every pixel
HEIF, HEIF_BRANDS = "HEIF", (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1")  # not AVIF's, which Pillow opens
WHITE, DEEPEST = (255, 255, 255), 65_535


def open_image(
    source: str | Path | bytes,
    *,
    working_side: int | None = WORKING_SIDE,
    exact: bool = False,
    formats: list[str] | tuple[str, ...] | None = None,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> Image.Image:
    """Open a picture of any common mode and size.

    EXIF rotation is applied, transparency is laid over white, 16-bit, CMYK, palette and gray become RGB, of an
    animation the first frame is taken.

    Args:
        source: a file, or the bytes of one.
        working_side: the longer side is reduced to this, keeping the aspect; None keeps every pixel.
        exact: only turn it upright; mode, transparency, bit depth, colour profile and every pixel stay; colours of 16
            bits are beside the picture's own 8 (`llmga.deep`).
        formats: Pillow's names of those that are opened; None is all that it knows.
        max_pixels: a picture of more is refused.
        name: what messages call it; None is its path, or "the uploaded picture".

    Raises:
        UserError: when it is missing, no picture, truncated or too large.
    """
    name = name or _usual_name(source)
    with _decoding(source, name, max_pixels), _opened(source, name, formats) as image:
        _bound(image, name, None if exact else working_side, max_pixels)
        image.load()
        upright = ImageOps.exif_transpose(image)
        return with_levels(upright, source) if exact else reduced(to_rgb(upright), working_side)


def size_of(source: str | Path | bytes, *, formats: list[str] | tuple[str, ...] | None = None) -> tuple[int, int]:
    """(width, height) as the head of a picture states them; nothing is decoded, and nothing too large.

    Raises:
        UserError: when it is missing or no picture.
    """
    name = _usual_name(source)
    with _decoding(source, name, MAX_PIXELS), _opened(source, name, formats) as image:
        return image.size


def _usual_name(source: str | Path | bytes) -> str:
    return "the uploaded picture" if isinstance(source, bytes) else f"picture {str(source)!r}"


def _opened(source: str | Path | bytes, name: str, formats: list[str] | tuple[str, ...] | None) -> Image.Image:
    """The picture, not yet decoded; one of a phone (HEIC) by an optional package, as Pillow has no decoder of its own.

    Raises:
        UserError: it is a HEIC picture, and the package is not there.
    """
    if _is_heif(source) and (formats is None or HEIF in formats):
        try:
            from pillow_heif import HeifImageFile
        except ImportError:
            raise UserError(
                f"{name} is a HEIC picture, which takes another package: pip install 'llmga[heic]'; or save it as JPEG."
            ) from None
        return HeifImageFile(_readable(source))  # type: ignore[no-untyped-call]
    return Image.open(
        _readable(source), formats=None if formats is None else [each for each in formats if each != HEIF]
    )


def _is_heif(source: str | Path | bytes) -> bool:
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with open(source, "rb") as stream:
            head = stream.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def _readable(source: str | Path | bytes) -> str | Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source


@contextmanager
def _decoding(source: str | Path | bytes, name: str, max_pixels: int) -> Iterator[None]:
    """Whatever a decoder stumbles over in bytes from anywhere is said in one sentence.

    Raises:
        UserError: that sentence.
    """
    if not isinstance(source, bytes):
        check_file(source, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except (UserError, MemoryError):
        raise
    except PermissionError:
        raise _forbidden(name) from None
    except Image.DecompressionBombError:
        raise UserError(_too_large(name, "", max_pixels)) from None
    except Exception:  # what a decoder was not made for it may answer with anything
        raise UserError(
            f"{name} is not a readable picture (it may be truncated or of another type); "
            "save it again as PNG, JPEG or WEBP."
        ) from None


def check_file(source: str | Path, name: str) -> None:
    """See that something is a plain file: reading from a pipe might never end.

    Args:
        name: what messages call it.

    Raises:
        UserError: when it does not exist, cannot be read, or is a folder, a pipe or a device.
    """
    if not str(source):
        raise UserError("the name of the picture is empty; give a picture file.")
    try:
        kind = os.stat(source).st_mode
    except PermissionError:
        raise _forbidden(name) from None
    except (OSError, ValueError):  # no such name, or one that no file can have
        raise UserError(f"{name} does not exist; check the path.") from None
    if stat.S_ISDIR(kind):
        raise UserError(f"{name} is a folder; give a picture file.")
    if not stat.S_ISREG(kind):
        raise UserError(f"{name} is a pipe or a device; give a picture file.")


def _forbidden(name: str) -> UserError:
    return UserError(f"{name} cannot be read: permission denied.")


def _bound(image: Image.Image, name: str, working_side: int | None, max_pixels: int) -> None:
    width, height = image.size
    if image.format == "JPEG" and working_side:
        image.draft(None, (working_side, working_side))  # libjpeg decodes at 1/2, 1/4 or 1/8 for free
    if image.width * image.height > max_pixels or max(width, height) > MAX_SIDE:
        raise UserError(_too_large(name, f" ({width}x{height})", max_pixels))


def _too_large(name: str, size: str, max_pixels: int) -> str:
    return f"{name}{size} has more than {max_pixels / 1_000_000:g} million pixels; scale it down first."


def reduced(image: Image.Image, side: int | None = WORKING_SIDE) -> Image.Image:
    """The longer side at most `side` pixels, the aspect kept; None leaves the picture as it is."""
    if side is None or max(image.size) <= side:
        return image
    scale = side / max(image.size)
    width, height = (max(1, round(extent * scale)) for extent in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB; transparency over white, more than 8 bits scaled to 8."""
    if image.mode == "F":
        scale = 255 / white_of(image)
        image = image.point(lambda value: value * scale + 0.5).convert("L")
    elif image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*WHITE, 255)), image).convert("RGB")
    return image.convert("RGB")


def extrema(image: Image.Image) -> tuple[float, float]:
    """The least and the largest level of a picture of one channel."""
    return cast("tuple[float, float]", image.getextrema())


def white_of(image: Image.Image) -> int:
    """What a picture of one deep channel means by white: 65535, but floats may also hold shares or levels, and nothing
    in a file says which."""
    brightest = extrema(image)[1] if image.mode == "F" else DEEPEST
    return next((white for white in (1, 255) if brightest <= white), DEEPEST)


def stretch_square(image: Image.Image, side: int) -> Image.Image:
    """The whole picture, its aspect given up: what the second training stage and the chat show the vision tower."""
    return image.resize((side, side), Image.Resampling.LANCZOS)


def pad_square(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """The picture in the middle of a square of its longer side, on a plain colour."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
