"""16 bits a channel for colour pictures, which Pillow holds at 8: the full levels ride along with the picture.

A picture of mode RGB or RGBA that was opened from a 16-bit file has its levels in `info`, (height, width, channels)
uint16.  They count as long as their upper bytes are the picture's pixels, so that whatever changes a picture without
knowing of them simply leaves 8 bits.  Files: PNG and TIFF; JPEG and WEBP hold 8 bits.
"""

import io
import struct
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

KEY = "levels of 16 bits"
SCALE = 257  # 255 becomes 65,535
OTHER_END = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
FORMATS = ("PNG", "TIFF")
CHANNELS = {"RGB": 3, "RGBA": 4}
TAGS = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "strip": 273,
                 "channels": 277, "rows": 278, "bytes": 279, "extra": 338, "profile": 34675}  # fmt: skip


def levels(image: Image.Image) -> np.ndarray | None:
    """The picture's own 16-bit levels, (height, width, channels) uint16, as long as they are still those it shows."""
    found = image.info.get(KEY)
    if found is None or image.mode not in CHANNELS or found.shape != (image.height, image.width, CHANNELS[image.mode]):
        return None
    return found if np.array_equal(found >> 8, np.asarray(image)) else None


def scaled(image: Image.Image) -> np.ndarray:
    """The 16-bit levels of an RGB or RGBA picture: its own, or the 8-bit ones on that scale."""
    own = levels(image)
    return np.asarray(image).astype(np.uint16) * SCALE if own is None else own


def of_levels(values: np.ndarray, info: dict[str | tuple[int, int], Any] | None = None) -> Image.Image:
    """The picture that (height, width, 3 or 4) uint16 says; `info` is taken over."""
    image = Image.fromarray((values >> 8).astype(np.uint8))
    image.info = dict(info or {}) | {KEY: values}
    return image


def with_levels(upright: Image.Image, source: str | Path | bytes) -> Image.Image:
    """A picture that was opened, with the levels that its file has beyond 8 bits, if it has some.

    A TIFF that holds its channels one after the other, instead of pixel by pixel, is left at 8 bits.
    """
    if upright.mode in CHANNELS:
        with suppress(OSError, ValueError, SyntaxError):  # another format, or a layout that is read at 8 bits
            upright.info |= {KEY: values} if (values := _read(source)) is not None else {}
    return upright


def _read(source: str | Path | bytes) -> np.ndarray | None:
    """Both bytes of every level; the lower ones come by reading them as if they were the upper ones."""
    with Image.open(_again(source), formats=FORMATS) as image:
        if not _raw_mode(image).startswith(f"{image.mode};16"):
            return None
        image.load()
        upper = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
    with Image.open(_again(source), formats=FORMATS) as image:
        raw = _raw_mode(image)
        turned = raw[:-1] + OTHER_END[raw[-1]]
        image.tile = [
            tile._replace(args=(turned, *tile.args[1:]) if isinstance(tile.args, tuple) else turned)
            for tile in image.tile
        ]
        image.load()
        values: np.ndarray = upper << 8 | np.asarray(ImageOps.exif_transpose(image))
        return values


def _again(source: str | Path | bytes) -> str | Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _raw_mode(image: ImageFile) -> str:
    """How the file holds its pixels, such as `RGB;16B`; "" where that cannot be told."""
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str(args[0] if args else "")


def cropped(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """As `Image.crop`, inside the picture, levels included."""
    part, own = image.crop(box), levels(image)
    if own is not None:
        part.info[KEY] = own[box[1] : box[3], box[0] : box[2]]
    return part


def paste(image: Image.Image, part: Image.Image, corner: tuple[int, int]) -> None:
    """As `Image.paste`, inside the picture and of its mode, levels included where one of the two has some."""
    own, new = levels(image), levels(part)
    image.paste(part, corner)
    if own is not None or new is not None:
        whole = scaled(image) if own is None else own.copy()
        rows, columns = slice(corner[1], corner[1] + part.height), slice(corner[0], corner[0] + part.width)
        whole[rows, columns] = scaled(part)
        image.info[KEY] = whole


def grown(image: Image.Image, corner: tuple[int, int], canvas: Image.Image) -> None:
    """Give a canvas that the picture was pasted on its levels, as far as it has some."""
    own = levels(image)
    if own is not None:
        whole = np.asarray(canvas).astype(np.uint16) * SCALE
        whole[corner[1] : corner[1] + image.height, corner[0] : corner[0] + image.width] = own
        canvas.info[KEY] = whole


def mixed(picture: Image.Image, painted: Image.Image, mask: Image.Image) -> Image.Image | None:
    """`compositing.paste_back` at 16 bits; None for a picture of 8."""
    before = levels(picture)
    if before is None:
        return None
    new = scaled(painted.convert("RGB"))
    if before.shape[2] == 4:
        new = np.concatenate([new, np.full_like(new[..., :1], 65_535)], axis=-1)
    result, weight = before.copy(), np.asarray(mask)
    result[weight == 255] = new[weight == 255]
    between = (weight > 0) & (weight < 255)
    share = weight[between][:, None] / 255
    result[between] = np.rint(before[between] * (1 - share) + new[between] * share)
    return of_levels(result, picture.info)


def into_png(file: bytes, values: np.ndarray) -> bytes:
    """An 8-bit PNG with its pixels at 16 bits, every other chunk as it is."""
    found = bytearray(file[:8])
    place, written = 8, False
    while place < len(file):
        (size,), kind = struct.unpack(">I", file[place : place + 4]), file[place + 4 : place + 8]
        body = file[place + 8 : place + 8 + size]
        place += 12 + size
        if kind == b"IHDR":
            body = body[:8] + bytes([16]) + body[9:]
        if kind == b"IDAT":
            if written:
                continue
            body, written = _idat(values), True
        found += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return bytes(found)


def _idat(values: np.ndarray) -> bytes:
    """Each row less the one above (PNG's filter 2), compressed."""
    rows = values.astype(">u2").view(np.uint8).reshape(len(values), -1)
    less = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    return zlib.compress(np.pad(less, ((0, 0), (1, 0)), constant_values=2).tobytes(), 6)


def tiff(values: np.ndarray, profile: bytes | None = None) -> bytes:
    """A TIFF of (height, width, 3 or 4) uint16, deflated in one strip."""
    height, width, channels = values.shape
    strip = zlib.compress(np.ascontiguousarray(values, dtype="<u2").tobytes(), 6)
    directory, tag = ImageFileDirectory_v2(prefix=b"II"), TAGS
    directory[tag["width"]], directory[tag["height"]], directory[tag["rows"]] = width, height, height
    directory[tag["bits"]], directory[tag["channels"]] = (16,) * channels, channels
    directory[tag["compression"]], directory[tag["photometric"]] = 8, 2
    directory[tag["strip"]], directory[tag["bytes"]] = (0,), (len(strip),)
    if channels == 4:
        directory[tag["extra"]] = 2
    if profile:
        directory.tagtype[tag["profile"]] = 7
        directory[tag["profile"]] = profile
    buffer = io.BytesIO()
    directory.save(buffer)
    return buffer.getvalue() + strip
