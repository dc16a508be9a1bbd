"""The pen: a scene becomes a picture."""

import numpy as np
from PIL import Image

from llmga.toyworld.world import grounds
from llmga.toyworld.world.colours import palette
from llmga.toyworld.world.layout import RADII, SIDE, centres, unit
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.templates import template


def stamp(picture: np.ndarray, covers: np.ndarray, colours: np.ndarray, middle: tuple[int, int]) -> None:
    """Draw one thing into a picture, in place; what lies beyond the border is cut off.

    Args:
        picture: float (height, width, 3).
        covers: (roles, n, n), see `templates.template`.
        colours: (roles, 3).
        middle: (x, y).
    """
    height, width = picture.shape[:2]
    half = covers.shape[-1] // 2
    left, top = middle[0] - half, middle[1] - half
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + 2 * half, width), min(top + 2 * half, height)
    if x0 >= x1 or y0 >= y1:
        return
    seen = covers[:, y0 - top : y1 - top, x0 - left : x1 - left]
    behind = picture[y0:y1, x0:x1]
    behind *= 1 - seen.sum(0)[..., None]
    behind += np.tensordot(seen, colours, (0, 0))


def covers_of(thing: Thing, style: str, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """The template of a thing for a picture of a given size."""
    scale = unit(width, height)
    return template(thing.kind, RADII[thing.size] * scale, thing.pattern, style, scale)


def render(scene: Scene, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """float32 (height, width, 3), 0 to 255."""
    picture = grounds.paint(scene.ground, width, height).copy()
    light = grounds.is_light(scene.ground)
    for thing, middle in zip(scene.things, centres(scene, width, height), strict=True):
        stamp(picture, covers_of(thing, scene.style, width, height), palette(thing.colour, light), middle)
    return picture


def draw(scene: Scene, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Draw a scene as an RGB picture of any size; things keep their shape whatever the aspect."""
    return Image.fromarray(np.round(render(scene, width, height)).astype(np.uint8))
