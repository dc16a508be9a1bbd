"""Scenes with a part hidden, as inpainting and outpainting are asked to complete them."""

import random
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from llmga.masks import hide
from llmga.toyworld.scenes import PICTURE_SIZE, Scene, Thing, coverage, draw, is_held_out, random_scene

MARGINS = (2, 12)  # pixels around a thing that are hidden with it, at least and at most
TRIES = 20  # of finding room for another thing
STRIPS = (0.25, 0.40)  # of a side that is outpainted, as in training


@dataclass(frozen=True)
class MaskedScene:
    """A drawn scene and what is hidden of it.

    Attributes:
        scene: what the caption is to describe.
        picture: RGB, the whole scene, perhaps with another thing beside what is hidden.
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


def without_its_thing(
    scene: Scene, rng: random.Random, side: int = PICTURE_SIZE, *, company: bool = False
) -> MaskedScene:
    """A box with a random margin hides the one thing of a scene; only the background is seen.

    Args:
        company: another thing is seen, too, where there is room for one.
    """
    covered = coverage(scene.things[0], side, side) > 0
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    left, top, right, bottom = (rng.randint(*MARGINS) for _ in range(4))
    box = (
        max(0, int(columns[0]) - left), max(0, int(rows[0]) - top),
        min(side, int(columns[-1]) + 1 + right), min(side, int(rows[-1]) + 1 + bottom),
    )  # fmt: skip
    seen = _others(scene, box, rng, side) if company else ()
    return MaskedScene(scene, draw(replace(scene, things=(*scene.things, *seen)), side, side), box)


def _others(scene: Scene, box: tuple[int, int, int, int], rng: random.Random, side: int) -> tuple[Thing, ...]:
    """A thing outside of the box that may be seen on this background, if one was found."""
    left, top, right, bottom = box
    for _ in range(TRIES):
        found = random_scene(rng).things
        covered = coverage(found[0], side, side)[top:bottom, left:right]
        if not covered.any() and not is_held_out(replace(scene, things=found)):
            return found
    return ()


def without_its_sides(scene: Scene, rng: random.Random, side: int = PICTURE_SIZE) -> MaskedScene:
    """Strips along one to four sides hide what is there, as if the picture had to be grown."""
    sides = [rng.random() < 0.5 for _ in range(4)]
    sides[rng.randrange(4)] = True
    left, top, right, bottom = (grown * round(rng.uniform(*STRIPS) * side) for grown in sides)
    return MaskedScene(scene, draw(scene, side, side), (left, top, side - right, side - bottom), kept=True)
