"""Pictures as files that carry their record.

Where it stands, and in the same words in every kind of file (both are UTF-8 where nothing else is said):

* PNG: text chunks `llmga` (the record, a JSON object with the attributes of `Record`) and `parameters`.
* JPEG, WEBP: in the EXIF block, the record after the eight bytes `llmga` + three zeros in tag 0x927C (MakerNote), and
  the parameters in tag 0x9286 (UserComment, `UNICODE` + one zero, UTF-16 big endian), where other tools look for them.

That a model made the picture stands in an XMP packet of every file (`llmga.assistant.provenance`), and in a signed
statement where there is a `Signer`.  Colours of 16 bits (`llmga.deep`) stay so in a PNG; JPEG and WEBP hold 8.
"""

import io
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from llmga.assistant.credentials import Signer
from llmga.assistant.provenance import PNG_KEYWORD, source_of, xmp_packet
from llmga.assistant.record import Record, parameters
from llmga.deep import into_png, levels
from llmga.errors import UserError
from llmga.images import MAX_PIXELS, check_file, to_rgb
from llmga.registry import Registry

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
USUAL_QUALITY = 95
EXIF_IFD, MAKER_NOTE, USER_COMMENT = 0x8769, 0x927C, 0x9286
OWN, UNICODE = b"llmga\0\0\0", b"UNICODE\0"
LONGEST_EXIF = 65_000  # bytes that fit into the one segment that JPEG has for it

Encoder = Callable[[Image.Image, Record | None, int | None, bytes], bytes]  # the last is the XMP packet


def _png(image: Image.Image, record: Record | None, quality: int | None, xmp: bytes) -> bytes:
    chunks = PngInfo()
    if record is not None:
        chunks.add_text("parameters", parameters(record))
        chunks.add_text("llmga", record.to_json())
    if xmp:
        chunks.add_itxt(PNG_KEYWORD, xmp.decode())
    image = _in_mode(image, PNG_MODES)
    file, own = _saved(image, "PNG", pnginfo=chunks), levels(image)
    return file if own is None else into_png(file, own)


def _jpeg(image: Image.Image, record: Record | None, quality: int | None, xmp: bytes) -> bytes:
    image = _in_mode(image, ("L", "RGB", "CMYK"))
    profile = image.info.get("icc_profile")
    exif = _exif(record, LONGEST_EXIF)
    told = {"exif": exif, "icc_profile": profile, "comment": b"", "xmp": xmp}
    return _saved(image, "JPEG", quality=quality or USUAL_QUALITY, **told)


def _webp(image: Image.Image, record: Record | None, quality: int | None, xmp: bytes) -> bytes:
    """Lossless unless a quality is asked for."""
    image = _in_mode(image, ("RGB", "RGBA"))
    how = {"lossless": True, "exact": True} if quality is None else {"quality": quality}
    return _saved(image, "WEBP", exif=_exif(record), icc_profile=image.info.get("icc_profile", b""), xmp=xmp, **how)


FORMATS: Registry[Encoder] = Registry("picture format", {"png": _png, "jpeg": _jpeg, "webp": _webp})
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


def encoded(
    image: Image.Image,
    record: Record,
    kind: str = "png",
    *,
    quality: int | None = None,
    strip: bool = False,
    said: bool = True,
    signer: Signer | None = None,
    parent: Image.Image | None = None,
) -> bytes:
    """The picture as a file; the same arguments give the same bytes, but for a signature.

    Args:
        kind: a row of `FORMATS`.
        quality: 1 to 100 for a lossy file; None is lossless PNG and WEBP, and JPEG of 95.
        strip: leave the record out; the colour profile stays, and that a model made it.
        said: that a model made it, which files of earlier versions do not say.
        signer: signs the file.
        parent: the picture that was changed, for the signed statement.

    Raises:
        UserError: an unknown format, a quality out of range, or a record that is too long for a JPEG.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise UserError(f"quality {quality} is out of range; use 1 to 100.")
    lossy = None if kind == "png" else quality
    xmp = xmp_packet(source_of(record.parent)) if said else b""
    content = FORMATS[kind](image, None if strip else replace(record, quality=lossy), lossy, xmp)
    return content if signer is None else signer(content, kind, record, parent)


def png_bytes(image: Image.Image, record: Record) -> bytes:
    """The picture as PNG with its record."""
    return encoded(image, record)


def read(path: str | Path) -> Record:
    """The record inside a picture, which may come from anybody.

    Raises:
        UserError: there is no such file, no record in it, or one with a value out of its range.
    """
    check_file(path, f"picture {str(path)!r}")
    try:
        with Image.open(path, formats=[kind.upper() for kind in FORMATS]) as image:
            block = _block(image)
    except MemoryError:
        raise
    except Exception:  # what a decoder was not made for it may answer with anything
        raise UserError(
            f"no record of llmga can be read from {str(path)!r}; give a picture that llmga saved."
        ) from None
    try:
        return Record.from_json(block)
    except (ValueError, TypeError) as problem:
        raise UserError(
            f"no record of llmga can be read from {str(path)!r} ({problem}); give a picture that llmga saved."
        ) from None


def read_bytes(content: bytes) -> Record | None:
    """The record inside the bytes of a picture; None where it has none that can be read."""
    with suppress(Exception), Image.open(io.BytesIO(content), formats=[kind.upper() for kind in FORMATS]) as image:
        return Record.from_json(_block(image))
    return None


def kind_of(path: str | Path) -> str:
    """The row of `FORMATS` that a file is, whatever its name.

    Raises:
        UserError: it is none.
    """
    with suppress(Exception), Image.open(path) as image:
        name = str(image.format).lower()
        if name in FORMATS:
            return name
    raise UserError(f"{str(path)!r} is none of {', '.join(FORMATS)}; give a picture that llmga saved.")


def _block(image: Image.Image) -> str:
    """Raises: KeyError when there is none, ValueError for a picture that is too large to look for it."""
    if math.prod(image.size) > MAX_PIXELS:
        raise ValueError(image.size)
    if image.format == "PNG":
        image.load()  # what is told may stand behind the pixels
    if "llmga" in (texts := getattr(image, "text", {})):
        return str(texts["llmga"])
    note: bytes = image.getexif().get_ifd(EXIF_IFD)[MAKER_NOTE]
    if not note.startswith(OWN):
        raise KeyError(MAKER_NOTE)
    return note.removeprefix(OWN).decode()


def _exif(record: Record | None, longest: int | None = None) -> bytes:
    """The EXIF block; without the parameters, which the record can tell, where it would be too long."""
    if record is None:
        return b""
    note = {MAKER_NOTE: OWN + record.to_json().encode()}
    comment = {USER_COMMENT: UNICODE + parameters(record).encode("utf-16-be")}
    for tags in (note | comment, note):
        exif = Image.Exif()
        exif.get_ifd(EXIF_IFD).update(tags)
        block = exif.tobytes()
        if longest is None or len(block) <= longest:
            return block
    raise UserError(f"the picture's record takes {len(block)} bytes, a JPEG holds {longest}; save it as PNG or WEBP.")


def _in_mode(image: Image.Image, modes: tuple[str, ...]) -> Image.Image:
    """The picture in a mode that the format holds; a profile of another kind of colour would mean nothing there."""
    if image.mode in modes:
        return image
    if "RGBA" in modes and image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "I" and "I;16" in modes:
        return image.convert("I;16")
    converted = to_rgb(image)
    if image.mode not in ("P", "RGBA", "LA", "1"):
        converted.info.pop("icc_profile", None)
    return converted


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
