"""Reads a picture back into a scene, from pixels alone, and says what it cannot explain.

First the ground that most pixels agree with; then, as long as something is unexplained, the thing that explains most
of it: an outline that fits what is left, drawn in every pattern, style and colour, moved until it fits best.  Then
things that lie on each other are read again, each with the other in its place.  The oracle knows the world's pen and
nothing of the models that paint.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from llmga.toyworld.world import grounds
from llmga.toyworld.world.explaining import things_in
from llmga.toyworld.world.finding import UNEXPLAINED
from llmga.toyworld.world.fitting import drawn, softened
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.layout import SIDE
from llmga.toyworld.world.placing import Seen, placed
from llmga.toyworld.world.scene import Scene

GROUND_FARTHEST = 60.0  # colour distance from which a pixel is no part of a ground
DEBRIS = 45.0  # distance (of a channel) from all colours around it at which a pixel belongs to nothing
CLEAN = 0.005  # most debris of a picture in which nothing is left over


@dataclass(frozen=True)
class Reading:
    """What was seen.

    Attributes:
        things: in the order of a scene.
        bond: how the second belongs to the first.
        debris: share of the pixels that belong to nothing, 0 to 1.
    """

    ground: str
    style: str
    things: tuple[Seen, ...]
    bond: str
    debris: float

    @property
    def scene(self) -> Scene | None:
        """The scene, if it is one that can be drawn."""
        try:
            return Scene(self.ground, self.style, tuple(seen.thing for seen in self.things), self.bond)
        except ValueError:
            return None

    @property
    def is_clean(self) -> bool:
        """Whether nearly everything belongs to the ground or to a thing."""
        return self.debris <= CLEAN


def read(picture: Image.Image) -> Reading:
    """What a picture of any size and aspect shows."""
    pixels = _pixels(picture)
    ground = _ground(pixels)
    background = _as_it_is(pixels, softened(grounds.paint(ground, pixels.shape[1], pixels.shape[0])))
    light = grounds.is_light(ground)
    style, fits = things_in(pixels, background, light)
    debris = _debris(pixels, drawn(background, fits, light))
    things, bond = placed(fits, pixels.shape[1], pixels.shape[0])
    return Reading(ground, style, things, bond, debris)


def _pixels(picture: Image.Image) -> np.ndarray:
    """float32 (height, width, 3), softened, the shorter side `SIDE`."""
    scale = SIDE / min(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    small = picture.convert("RGB")
    if small.size != size:
        small = small.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    return softened(np.asarray(small, np.float32))


def _ground(pixels: np.ndarray) -> str:
    height, width = pixels.shape[:2]
    few = pixels[::2, ::2]
    off = [few - grounds.paint(name, width, height)[::2, ::2] for name in GROUNDS]
    errors = [np.minimum(np.einsum("yxc,yxc->yx", d, d), GROUND_FARTHEST**2).sum() for d in off]
    return GROUNDS[int(np.argmin(errors))]


def _as_it_is(pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The ground in the picture's own shade: a painter's colours may be a little off everywhere."""
    off = pixels - background
    ground = np.abs(off).max(-1) < UNEXPLAINED
    return background + np.median(off[ground], axis=0) if ground.any() else background


def _debris(pixels: np.ndarray, picture: np.ndarray, reach: int = 2) -> float:
    """Share of pixels whose colour is far from everything that is drawn within `reach` pixels of them."""
    low, high = picture, picture
    for axis in (0, 1):
        shifted = [(_shifted(low, step, axis), _shifted(high, step, axis)) for step in range(-reach, reach + 1)]
        low = np.minimum.reduce([pair[0] for pair in shifted])
        high = np.maximum.reduce([pair[1] for pair in shifted])
    outside = np.maximum(low - pixels, pixels - high).max(-1)
    return float((outside > DEBRIS).mean())


def _shifted(picture: np.ndarray, step: int, axis: int) -> np.ndarray:
    """The picture moved along an axis, its border repeated."""
    index = np.clip(np.arange(picture.shape[axis]) + step, 0, picture.shape[axis] - 1)
    return picture.take(index, axis)
