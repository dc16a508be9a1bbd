"""Pictures that cannot be learnt from, and odd ones."""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from llmga.errors import UserError
from llmga.images import MAX_PIXELS, open_image
from llmga.llava.datasets.pictures import called, find_picture, other_spelling

TINY = 16  # pixels of the shorter side
NARROW = 8  # longer side over the shorter
PRINT = ("CMYK", "YCbCr", "LAB")
Complaint = tuple[str, str]  # check, words


def look(places: str, name: Any) -> tuple[Image.Image | None, list[Complaint]]:
    """The picture as training sees it, or None, and what is to be said about it."""
    try:
        found = find_picture(places, name)
    except (UserError, ValueError, OSError) as problem:
        close = other_spelling(places, name) if isinstance(name, str) else None
        return None, [("picture-missing", f"{problem}" + (f" There is {close!r}." if close else ""))]
    label = name if isinstance(name, str) and not isinstance(found, bytes) else "an embedded picture"
    try:
        odd = [(check, f"{label} {told}") for check, told in oddities(found)]
        return open_image(found, name=called(name, found)), [
            complaint for complaint in odd if complaint[0] != "picture-huge"
        ]
    except Image.DecompressionBombError:
        return None, [("picture-huge", f"{label} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels")]
    except Exception as problem:  # as in training, whatever a decoder stumbles over
        huge = [(check, told) for check, told in _quietly(found) if check == "picture-huge"]
        return None, [(check, f"{label} {told}") for check, told in huge] or [("picture-unreadable", str(problem))]


def _quietly(found: Path | bytes) -> list[Complaint]:
    try:
        return list(oddities(found))
    except Exception:
        return []


def oddities(found: Path | bytes) -> Iterator[Complaint]:
    """What the head of a picture file tells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(found) if isinstance(found, bytes) else found) as image:
            yield from _size(*image.size)
            if image.has_transparency_data:
                yield "picture-transparent", f"is {image.mode} with an alpha channel"
            if image.mode in PRINT:
                yield "picture-cmyk", f"is {image.mode}"
            if image.mode[0] in "IF":
                yield "picture-deep", f"is {image.mode}"
            if (frames := getattr(image, "n_frames", 1)) > 1:
                yield "picture-animated", f"has {frames} frames"


def _size(width: int, height: int) -> Iterator[Complaint]:
    told = f"is {width}x{height}"
    if width * height > MAX_PIXELS:
        yield "picture-huge", told
    if min(width, height) < TINY:
        yield "picture-tiny", told
    elif max(width, height) > NARROW * min(width, height):
        yield "picture-narrow", told
