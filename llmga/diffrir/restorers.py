"""Restorers: a painted picture and its reference in, the picture in which both agree out."""

from collections.abc import Callable

from PIL import Image

from llmga.diffrir.matching import match
from llmga.registry import Registry

# restorer(image, reference, mask) -> image: the painted picture, the picture before painting (None when there was
# none) and the mask whose white part was painted (None for all of it).
Restorer = Callable[[Image.Image, Image.Image | None, Image.Image | None], Image.Image]


def none(image: Image.Image, reference: Image.Image | None, mask: Image.Image | None) -> Image.Image:
    """Leave the picture as it was painted."""
    return image


def match_and_blend(image: Image.Image, reference: Image.Image | None, mask: Image.Image | None) -> Image.Image:
    """Fit the tone, then spread what still differs at the seam into the painted region."""
    return match(image, reference, mask, blend=True)


RESTORERS: Registry[Restorer] = Registry("restorer", {"none": none, "match": match, "match+blend": match_and_blend})


def open_restorer(n, *a, **k):
    return RESTORERS[n]
