"""Scenes as data, and the pen that draws them.

A scene is a background and a few things; a thing is a shape, a colour, a size and a place.  Drawing is a
linear composition, ``picture = background + coverage * (colour - background)``, with an anti-aliased coverage
map per thing.  The oracle (`llmga.toyworld.oracle`) inverts exactly this sum.
"""

import hashlib
import itertools
import math
import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (222, 38, 38),
    "orange": (250, 138, 24),
    "yellow": (252, 220, 36),
    "green": (34, 176, 64),
    "cyan": (44, 214, 222),
    "blue": (36, 92, 246),
    "purple": (142, 52, 196),
    "pink": (252, 134, 194),
}
# Backgrounds are duller than things of the same name, so that a blue star on blue can still be seen.
BACKGROUNDS = {
    "white": (246, 246, 246),
    "black": (18, 18, 18),
    "gray": (128, 128, 128),
    "blue": (52, 70, 148),
    "green": (42, 98, 60),
    "yellow": (238, 226, 156),
}
SIZES = {"small": 7 / 64, "medium": 12 / 64, "big": 18 / 64}  # half extent, as a fraction of the shorter side
PLACES = {
    f"{row} {column}".replace("middle center", "center"): (x, y)
    for (row, y), (column, x) in itertools.product(
        {"top": -1, "middle": 0, "bottom": 1}.items(), {"left": -1, "center": 0, "right": 1}.items()
    )
}
MARGIN = 4 / 64  # space between a thing and the border, as a fraction of the shorter side
SUPERSAMPLING = 4
PICTURE_SIZE = 64


def _regular(points: int, inner: float = 1.0) -> list[tuple[float, float]]:
    """Corners of a polygon or star in the unit disc, first corner up."""
    corners = points if inner == 1.0 else 2 * points
    radii = itertools.cycle((1.0, inner))
    turns = (2 * math.pi * k / corners - math.pi / 2 for k in range(corners))
    return [(r * math.cos(t), r * math.sin(t)) for t, r in zip(turns, radii, strict=False)]


def _heart() -> list[tuple[float, float]]:
    """The classic parametric heart (x = 16 sin^3 t …), scaled to the unit square."""
    turns = (2 * math.pi * k / 96 for k in range(96))
    curve = (
        (16 * math.sin(t) ** 3, 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
        for t in turns
    )
    return [(x / 16.5, -(y + 2.5) / 15) for x, y in curve]


ARM = 0.36  # half width of the cross's arms
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": _regular(96),
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0, -0.95), (1.0, 0.85), (-1.0, 0.85)],
    "star": _regular(5, inner=0.42),
    "heart": _heart(),
    "cross": [
        (-ARM, -1), (ARM, -1), (ARM, -ARM), (1, -ARM), (1, ARM), (ARM, ARM),
        (ARM, 1), (-ARM, 1), (-ARM, ARM), (-1, ARM), (-1, -ARM), (-ARM, -ARM),
    ],
}  # fmt: skip
SHAPES = tuple(OUTLINES)

# Attribute name -> its values; the order is the order in which results are reported.
ATTRIBUTES = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "place": tuple(PLACES),
    "background": tuple(BACKGROUNDS),
}


@dataclass(frozen=True)
class Thing:
    """One object; every field is a value of `ATTRIBUTES`."""

    shape: str
    colour: str
    size: str
    place: str

    def __post_init__(self) -> None:
        _check(self, ("shape", "colour", "size", "place"))


@dataclass(frozen=True)
class Scene:
    """A background and the things on it, painted in order (the last one is in front)."""

    background: str
    things: tuple[Thing, ...]

    def __post_init__(self) -> None:
        _check(self, ("background",))

    @classmethod
    def of(cls, shape: str, colour: str, size: str, place: str, background: str) -> "Scene":
        """A scene with one thing."""
        return cls(background, (Thing(shape, colour, size, place),))

    @property
    def attributes(self) -> dict[str, str]:
        """The five attributes of a scene with one thing, in the order of `ATTRIBUTES`."""
        (thing,) = self.things
        return {**{name: getattr(thing, name) for name in ATTRIBUTES if name != "background"},
                "background": self.background}  # fmt: skip

    def with_(self, **changes: str) -> "Scene":
        """This one-thing scene with some attributes changed."""
        return Scene.of(**{**self.attributes, **changes})


def _check(record: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(record, name)
        if value not in ATTRIBUTES[name]:
            raise ValueError(f"unknown {name} {value!r}; the toy world knows {', '.join(ATTRIBUTES[name])}")


@cache
def all_scenes() -> tuple[Scene, ...]:
    """Every scene with one thing, in a fixed order."""
    return tuple(Scene.of(*values) for values in itertools.product(*ATTRIBUTES.values()))


HELD_OUT_PER_MILLE = 74


def is_held_out(scene: Scene) -> bool:
    """Whether a scene is never trained on: about 1 of 14, chosen by a hash of its attributes."""
    digest = hashlib.sha256(repr(scene).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 1000 < HELD_OUT_PER_MILLE


@cache
def train_scenes() -> tuple[Scene, ...]:
    return tuple(scene for scene in all_scenes() if not is_held_out(scene))


@cache
def held_out_scenes() -> tuple[Scene, ...]:
    return tuple(scene for scene in all_scenes() if is_held_out(scene))


def centre(thing: Thing, width: int, height: int) -> tuple[float, float]:
    """Centre of a thing in pixels: sized so that it keeps `MARGIN` to the border it is next to."""
    reach = (SIZES[thing.size] + MARGIN) * min(width, height)
    x, y = PLACES[thing.place]
    return width / 2 + x * (width / 2 - reach), height / 2 + y * (height / 2 - reach)


def coverage(thing: Thing, width: int = PICTURE_SIZE, height: int = PICTURE_SIZE) -> np.ndarray:
    """How much of each pixel a thing covers.

    Returns:
        float32 (height, width) in [0, 1], anti-aliased by drawing `SUPERSAMPLING` times larger.
    """
    x0, y0 = centre(thing, width, height)
    radius = SIZES[thing.size] * min(width, height)
    outline = [((x0 + radius * x) * SUPERSAMPLING, (y0 + radius * y) * SUPERSAMPLING)
               for x, y in OUTLINES[thing.shape]]  # fmt: skip
    canvas = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING), 0)
    ImageDraw.Draw(canvas).polygon(outline, fill=255)
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX), np.float32) / 255


_coverage_64 = cache(coverage)  # 162 small maps serve every picture of the world


def draw(scene: Scene, width: int = PICTURE_SIZE, height: int = PICTURE_SIZE) -> Image.Image:
    """Draw a scene as an RGB picture of any size; things keep their shape whatever the aspect."""
    native = width == height == PICTURE_SIZE
    picture = np.broadcast_to(np.array(BACKGROUNDS[scene.background], np.float32), (height, width, 3))
    for thing in scene.things:
        cover = (_coverage_64(thing) if native else coverage(thing, width, height))[..., None]
        picture = picture + cover * (np.array(COLOURS[thing.colour], np.float32) - picture)
    return Image.fromarray(np.round(picture).astype(np.uint8))


def random_scene(rng: random.Random, things: int = 1, scenes: tuple[Scene, ...] | None = None) -> Scene:
    """A random scene: drawn from `scenes` (default: the training split), or composed when several things are asked."""
    if things == 1:
        return rng.choice(scenes or train_scenes())
    places = rng.sample(list(PLACES), things)
    return Scene(
        rng.choice(list(BACKGROUNDS)),
        tuple(Thing(rng.choice(SHAPES), rng.choice(list(COLOURS)), rng.choice(("small", "medium")), place)
              for place in places),
    )  # fmt: skip
