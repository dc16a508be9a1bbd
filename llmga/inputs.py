"""What a caller of Python hands in: text, numbers and pictures in any usual form, each checked in one sentence."""

import difflib
import operator
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from llmga.errors import UserError
from llmga.images import open_image

Picture = Image.Image | str | Path | np.ndarray
Pictures = Picture | Iterable[Picture] | None


def as_text(value: Any, name: str = "prompt") -> str:
    """Text, the empty one included.

    Raises:
        UserError: for anything else, such as None or a list.
    """
    if isinstance(value, str):
        return str(value)
    several = "; several are several calls" if isinstance(value, list | tuple) else ""
    raise UserError(f"the {name} is of type {type(value).__name__}, not text; give a str{several}.")


def as_whole(value: Any, name: str) -> int:
    """A whole number of Python, numpy or torch.

    Raises:
        UserError: for anything else, such as 1.5.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"{name} {value!r} is no whole number; give an int.") from None


def as_number(value: Any, name: str) -> float:
    """A number of Python, numpy or torch; a whole one stays whole.

    Raises:
        UserError: for anything else, such as text.
    """
    with suppress(TypeError):
        return operator.index(value)
    try:
        return float(value + 0)  # text has no sum with 0
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{name} {value!r} is no number; give a float.") from None


def as_seeds(values: Any) -> list[int]:
    """Seeds of a batch, of which there may be none.

    Raises:
        UserError: for anything but a list of whole numbers.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UserError(f"the seeds are {values!r}; give a list of whole numbers, one for each picture.")
    return [as_whole(each, "seed") for each in values]


def as_size(value: Any) -> tuple[int, int]:
    """(width, height).

    Raises:
        UserError: for anything but two whole numbers.
    """
    sides = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else []
    if len(sides) != 2:
        raise UserError(f"size {value!r} is no pair; give (width, height) in pixels.")
    width, height = (as_whole(side, "size") for side in sides)
    return width, height


@overload
def as_picture(value: None, name: str = "picture") -> None: ...


@overload
def as_picture(value: Picture, name: str = "picture") -> Image.Image: ...


def as_picture(value: Any, name: str = "picture") -> Image.Image | None:
    """A picture as Pillow holds it, every pixel kept; None stays None.

    Args:
        value: a Pillow image; the path of a file; or an array (height, width) or (height, width, 1, 3 or 4), of uint8,
            of floats in [0, 1] or of booleans.

    Raises:
        UserError: for a file that is no picture, for one without pixels, and for anything else.
    """
    return None if value is None else _picture(value, name)


def as_several(images: Any) -> tuple[Image.Image, ...]:
    """Pictures as Pillow holds them.

    Args:
        images: one picture, several, or None; each as `as_picture` takes it.

    Raises:
        UserError: as `as_picture`.
    """
    if images is None:
        return ()
    several = isinstance(images, Iterable) and not isinstance(images, str | bytes | np.ndarray)
    return tuple(_picture(each) for each in (images if several else (images,)))


def _picture(value: Any, name: str = "picture") -> Image.Image:
    if isinstance(value, Image.Image):
        if not all(value.size):
            raise UserError(f"the {name} is {value.width}x{value.height}, without a pixel; give a larger one.")
        return value
    if isinstance(value, str | Path):
        return open_image(value, exact=True)
    if isinstance(value, np.ndarray):
        return Image.fromarray(_levels(value, name))
    several = "; several are several calls" if isinstance(value, list | tuple) else ""
    raise UserError(f"the {name} is of type {type(value).__name__}; give a Pillow image, a path or an array{several}.")


def as_pictures(image: Any, reference: Any, mask: Any) -> tuple[Image.Image, Image.Image | None, Image.Image | None]:
    """What a restorer is handed; raises UserError as `as_picture`, and without a picture."""
    if image is None:
        raise UserError("there is no picture to restore; give the painted one.")
    return as_picture(image), as_picture(reference, "reference"), as_picture(mask, "mask")


def _levels(array: np.ndarray, name: str) -> np.ndarray:
    """uint8, (height, width) or (height, width, channels)."""
    flat = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if not (flat.ndim == 2 or (flat.ndim == 3 and flat.shape[-1] in (3, 4))) or not flat.size:
        raise UserError(f"the {name} is an array of shape {array.shape}; give (height, width), or (height, width, 3 or "
                        "4 channels).")  # fmt: skip
    if flat.dtype == np.uint8:
        return np.ascontiguousarray(flat)
    if flat.dtype == bool:
        return flat.astype(np.uint8) * 255
    if not np.issubdtype(flat.dtype, np.floating) or not ((flat >= 0) & (flat <= 1)).all():
        raise UserError(f"the {name} is an array of {flat.dtype} from {flat.min()} to {flat.max()}; give uint8, or "
                        "floats from 0 to 1.")  # fmt: skip
    return (flat * 255).round().astype(np.uint8)


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that was probably meant; None where none is like it."""
    long = [each for each in known if len(each) > 2]  # shorter ones are a part of many
    part_of = [each for each in long if len(name) > 2 and (each in name or name in each)]
    return next(iter(difflib.get_close_matches(name, known, n=1) or sorted(part_of, key=len)[-1:]), None)


def check_keywords(called: str, given: Iterable[str], known: Iterable[str]) -> None:
    """See that a call names what is known.

    Raises:
        TypeError: naming a keyword that is not known, and the known one that was probably meant.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            close = nearest(name, known)
            hint = f", did you mean {close!r}?" if close else "."
            raise TypeError(f"{called}() takes no keyword {name!r}{hint} Known are: {', '.join(known)}.")
