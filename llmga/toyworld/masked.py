"""Scenes with a part hidden, as inpainting and outpainting are asked to complete them."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from llmga.masks import hide
from llmga.toyworld.scenes import PICTURE_SIZE, Scene, coverage, draw

MARGINS = (2, 8)  # pixels around a thing that are hidden with it, at least and at most
STRIPS = (0.25, 0.40)  # of a side that is outpainted, as in training


@dataclass(frozen=True)
class MaskedScene:
    """A drawn scene and what is hidden of it.

    Attributes:
        picture: RGB, the whole scene.
        box: left, top, right, bottom of a rectangle: what is hidden, or with `kept` what is not.
    """

    scene: Scene
    picture: Image.Image
    box: tuple[int, int, int, int]
    kept: bool = False

    @property
    def mask(self) -> Image.Image:
        """Mode L, 255 where something is hidden."""
        inside, outside = (0, 255) if self.kept else (255, 0)
        mask = Image.new("L", self.picture.size, outside)
        mask.paste(inside, self.box)
        return mask

    @property
    def blackened(self) -> Image.Image:
        """The picture as a language model sees it: black where it is hidden."""
        return hide(self.picture, np.asarray(self.mask) > 0)

    @property
    def shown(self) -> Image.Image:
        """The picture with mid-gray where it is hidden, so that nothing can be known of it."""
        gray = Image.new("RGB", self.picture.size, (127, 127, 127))
        return Image.composite(gray, self.picture, self.mask)


def without_its_thing(scene: Scene, rng: random.Random, side: int = PICTURE_SIZE) -> MaskedScene:
    """A box with a random margin hides the one thing of a scene; only the background is seen."""
    covered = coverage(scene.things[0], side, side) > 0
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    left, top, right, bottom = (rng.randint(*MARGINS) for _ in range(4))
    box = (
        max(0, int(columns[0]) - left), max(0, int(rows[0]) - top),
        min(side, int(columns[-1]) + 1 + right), min(side, int(rows[-1]) + 1 + bottom),
    )  # fmt: skip
    return MaskedScene(scene, draw(scene, side, side), box)


def without_its_sides(scene: Scene, rng: random.Random, side: int = PICTURE_SIZE) -> MaskedScene:
    """Strips along one to four sides hide what is there, as if the picture had to be grown."""
    sides = [rng.random() < 0.5 for _ in range(4)]
    sides[rng.randrange(4)] = True
    left, top, right, bottom = (grown * round(rng.uniform(*STRIPS) * side) for grown in sides)
    return MaskedScene(scene, draw(scene, side, side), (left, top, side - right, side - bottom), kept=True)
