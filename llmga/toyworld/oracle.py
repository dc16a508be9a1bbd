"""Reads a picture back into attributes, from pixels alone.

Drawing is `background + coverage * (colour - background)`, so the squared distance of a picture to every drawable
scene follows from a few sums over its pixels; the oracle compares with all of them and takes the nearest.  Several
things are read one after the other, each from what the ones before left unexplained.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

import numpy as np
from PIL import Image

from llmga.toyworld.scenes import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLOURS,
    PICTURE_SIZE,
    PLACES,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    coverage,
)

READABLE = 26.0  # root mean square distance (of 255) beyond which a picture is no scene of this world
MISSING = 0.7  # share of the thing's contrast to its background that may be unexplained within its outline


@dataclass(frozen=True)
class Reading:
    """What was seen.

    Attributes:
        scene: the nearest drawable scene.
        distance: root mean square pixel distance to it, 0 to 255.
        missing: distance over the pixels that its thing covers, as a share of the thing's contrast to the
            background: 0 when the thing is there as drawn, 1 when there is only background.
    """

    scene: Scene
    distance: float
    missing: float

    @property
    def readable(self) -> bool:
        """Whether the picture is a scene of the toy world at all."""
        return self.distance <= READABLE and self.missing <= MISSING

    @property
    def attributes(self) -> dict[str, str]:
        """Attributes of a one-thing picture; empty when it is not readable."""
        return self.scene.attributes if self.readable else {}


@cache
def _things() -> tuple[tuple[str, str, str], ...]:
    return tuple(product(SHAPES, SIZES, PLACES))


@lru_cache(maxsize=8)
def _covers(width: int, height: int) -> np.ndarray:
    """(shapes x sizes x places, pixels): coverage of every outline in a picture of this size."""
    outlines = (Thing(shape, "red", size, place) for shape, size, place in _things())
    return np.stack([coverage(outline, width, height).ravel() for outline in outlines])


@cache
def _palettes() -> tuple[np.ndarray, np.ndarray]:
    """(backgrounds, 3), (colours, 3)."""
    return np.array(list(BACKGROUNDS.values()), np.float32), np.array(list(COLOURS.values()), np.float32)


def read(picture: Image.Image) -> Reading:
    """The nearest scene with one thing, for a picture of any size and aspect."""
    pixels, covers = _measured(picture)
    grounds, colours = _palettes()
    # |x - g - a(c - g)|^2 = |x - g|^2 - 2 a (x - g)(c - g) + a^2 |c - g|^2, summed over pixels and channels
    plain = ((pixels[None] - grounds[:, None]) ** 2).sum((1, 2))
    contrast = colours[None] - grounds[:, None]
    covered = covers @ pixels
    areas = covers.sum(1)
    moved = covered[:, None] - areas[:, None, None] * grounds[None]
    cross = np.einsum("tgk,gck->tgc", moved, contrast)
    energy = (covers**2).sum(1)[:, None, None] * (contrast**2).sum(-1)[None]
    distances = plain[None, :, None] - 2 * cross + energy
    thing, ground, colour = np.unravel_index(distances.argmin(), distances.shape)
    shape, size, place = _things()[thing]
    scene = Scene.of(shape, list(COLOURS)[colour], size, place, list(BACKGROUNDS)[ground])
    return _reading(scene, pixels, covers[thing])


def _measured(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """float32 (pixels, 3) of the picture with its shorter side at the world's own size, and the outlines to match."""
    scale = PICTURE_SIZE / min(picture.size)
    width, height = (round(extent * scale) for extent in picture.size)
    small = picture.convert("RGB")
    if small.size != (width, height):
        small = small.resize((width, height), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1, 3), _covers(width, height)


def _reading(scene: Scene, pixels: np.ndarray, cover: np.ndarray) -> Reading:
    ground, colour = (
        np.array(BACKGROUNDS[scene.background], np.float32),
        np.array(COLOURS[scene.things[-1].colour], np.float32),
    )
    contrast = colour - ground
    error = ((pixels - ground - cover[:, None] * contrast) ** 2).mean(1)
    missing = np.sqrt((error * cover).sum() / ((contrast**2).mean() * (cover**2 * cover).sum()))
    return Reading(scene, float(np.sqrt(error.mean())), float(missing))


def score(picture: Image.Image, wanted: dict[str, str]) -> dict[str, bool]:
    """For each wanted attribute whether the picture shows it; an unreadable picture shows none."""
    seen = read(picture).attributes
    return {name: seen.get(name) == wanted[name] for name in ATTRIBUTES if name in wanted}
