"""Pictures that restoration can be learnt from without a photograph: leaves that fall on each other, and toy scenes.

Dead leaves (opaque shapes whose radii follow a power law, each hiding what lies below) have the edges, the flat parts
and the statistics of natural pictures; Achddou et al. (2023, arXiv:2112.10803) train restorers on nothing else.  Here a
leaf also has a texture and a slope of light.
"""

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from llmga.toyworld.scenes import draw, random_scene

SIDE = 320
FINE = 2  # drawn this many times larger, so that edges are smooth
LEAVES = (40, 600)  # from bare to busy
RADII = (3.0, 130.0)  # pixels
LISTS = {"train": 360, "validation": 24}


def leaves(rng: np.random.Generator, side: int = SIDE) -> Image.Image:
    """Textured leaves on each other, some pictures a little out of focus."""
    large = side * FINE
    labels = _fallen(rng, large)
    count = int(labels.max()) + 1
    palette = _palette(rng, count)
    pixels = palette[labels] + rng.normal(0, 0.25, (count, 1))[labels] * _ramp(rng, large)[..., None]
    patterns = np.stack([_noise(rng, large, rng.uniform(1.0, 1.9)) for _ in range(3)] + [_stripes(rng, large)])
    kind, strength = rng.integers(len(patterns), size=count), rng.exponential(0.03, count)
    chosen = np.take_along_axis(patterns, kind[labels][None], axis=0)[0]
    pixels = pixels + (strength[labels] * chosen)[..., None] * (0.7 + 0.6 * rng.random(3))
    picture = _image(pixels).resize((side, side), Image.Resampling.BOX)
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.6 if rng.random() < 0.7 else 1.5)))


def cloud(rng: np.random.Generator, side: int = SIDE) -> Image.Image:
    """One texture all over, its channels alike but not the same."""
    shared, steep = _noise(rng, side, rng.uniform(0.7, 1.8)), rng.uniform(0.8, 1.8)
    own = np.stack([_noise(rng, side, steep) for _ in range(3)], axis=-1)
    return _image(rng.uniform(0.2, 0.8, 3) + rng.uniform(0.05, 0.2) * (shared[..., None] + 0.4 * own))


def scene(rng: np.random.Generator, side: int = SIDE) -> Image.Image:
    """A scene of the toy world, of the training split."""
    return draw(random_scene(random.Random(int(rng.integers(2**31)))), side, side)


KINDS: dict[Callable[[np.random.Generator, int], Image.Image], float] = {leaves: 0.7, cloud: 0.15, scene: 0.15}


def write(folder: Path, lists: dict[str, int] | None = None, *, side: int = SIDE, seed: int = 0) -> int:
    """Write pictures and the lists of them; the same seed writes the same files.

    Args:
        lists: how many pictures each list has.

    Returns:
        How many there are.
    """
    total = 0
    for number, (name, count) in enumerate((lists or LISTS).items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        paths = [f"{name}/{each:04d}.png" for each in range(count)]
        for each, path in enumerate(tqdm(paths, desc=name)):
            rng = np.random.default_rng((seed, number, each))
            kind = list(KINDS)[rng.choice(len(KINDS), p=list(KINDS.values()))]
            kind(rng, side).save(folder / path)
        (folder / f"{name}.txt").write_text("\n".join(paths) + "\n")
        total += count
    return total


def _fallen(rng: np.random.Generator, side: int) -> np.ndarray:
    """Which leaf lies on top, (side, side): 0 is the ground."""
    canvas = Image.new("I", (side, side), 0)
    pen = ImageDraw.Draw(canvas)
    low, high = (radius * FINE for radius in RADII)
    # Radii with density r^-3 between the limits; the largest fall first, or they would hide all others.
    drawn = rng.random(int(rng.integers(*LEAVES)))
    radii = np.sort((drawn * (high**-2 - low**-2) + low**-2) ** -0.5 * rng.choice([1, 2, 4], len(drawn)))[::-1]
    for label, radius in enumerate(radii, start=1):
        pen.polygon(_outline(rng, rng.uniform(0, side, 2), float(radius)), fill=label)
    return np.asarray(canvas)


def _outline(rng: np.random.Generator, centre: np.ndarray, radius: float) -> list[tuple[float, float]]:
    """An ellipse or a polygon of few corners, turned."""
    corners = int(rng.choice([3, 4, 4, 5, 6, 40, 40]))
    flat, turn = rng.uniform(0.3, 1), rng.uniform(0, 2 * math.pi)
    outline = []
    for angle in 2 * np.pi * np.arange(corners) / corners:
        x, y = radius * math.cos(angle), flat * radius * math.sin(angle)
        outline.append((centre[0] + x * math.cos(turn) - y * math.sin(turn),
                        centre[1] + x * math.sin(turn) + y * math.cos(turn)))  # fmt: skip
    return outline


def _palette(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3): a picture's colours lie around a few, most of them dull."""
    few = rng.uniform(0.1, 0.9, (4, 1)) + rng.normal(0, 0.12, (4, 3))
    return few[rng.integers(4, size=count)] + rng.normal(0, 0.12, (count, 1)) + rng.normal(0, 0.03, (count, 3))


def _ramp(rng: np.random.Generator, side: int) -> np.ndarray:
    """A slope of light across the picture, from -1/2 to 1/2."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:side, :side] / side - 0.5
    return x * math.cos(angle) + y * math.sin(angle)


def _noise(rng: np.random.Generator, side: int, steep: float) -> np.ndarray:
    """Gaussian noise whose spectrum falls with the frequency to the power of `steep`, of unit variance."""
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    falling = np.maximum(np.hypot(rows, columns), 1 / side) ** -steep
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * falling, (side, side))
    return (field - field.mean()) / field.std()


def _stripes(rng: np.random.Generator, side: int) -> np.ndarray:
    """A regular pattern, soft or hard."""
    angle, period = rng.uniform(0, math.pi), rng.uniform(4, 30) * FINE
    y, x = np.mgrid[:side, :side]
    wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period)
    return 1.4 * np.tanh(wave * rng.uniform(0.5, 6))


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8))
