"""What a scene stands on: plain colours, gradients from top to bottom, and settings with a horizon."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from llmga.toyworld.world.colours import luminance

Colour = tuple[int, int, int]

# Duller than things of the same name, so that a blue star on blue can still be seen.
PLAIN: dict[str, Colour] = {
    "white": (248, 247, 244),
    "gray": (178, 180, 186),
    "black": (16, 16, 20),
    "blue": (160, 196, 236),
    "green": (170, 210, 160),
    "yellow": (247, 230, 152),
    "pink": (246, 192, 208),
    "lavender": (202, 186, 232),
    "navy": (34, 44, 92),
}
GRADIENTS: dict[str, tuple[Colour, Colour]] = {
    "blue to white": (PLAIN["blue"], PLAIN["white"]),
    "pink to yellow": (PLAIN["pink"], PLAIN["yellow"]),
    "green to white": (PLAIN["green"], PLAIN["white"]),
    "navy to lavender": (PLAIN["navy"], PLAIN["lavender"]),
}
HORIZON = 0.6  # of the height, from the top


def _blend(stops: Sequence[tuple[float, Colour]], y: np.ndarray) -> np.ndarray:
    """(…, 3): colours at the heights `y` (0 top, 1 bottom), linear between the stops."""
    heights, colours = zip(*stops, strict=True)
    return np.stack([np.interp(y, heights, channel) for channel in zip(*colours, strict=True)], -1)


class Canvas:
    """A picture that a setting is painted on.

    Attributes:
        pixels: float (height, width, 3).
        x, y: position of every pixel's middle, 0 to 1 (x: up to the aspect, so that curves keep their shape).
    """

    def __init__(self, width: int, height: int):
        self.unit = min(width, height)
        self.y, self.x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / self.unit,
                                     indexing="ij")  # fmt: skip
        self.height = height
        self.pixels = np.zeros((height, width, 3))

    def sky(self, *stops: tuple[float, Colour]) -> None:
        """Fill everything with colours from top to bottom."""
        self.pixels = _blend(stops, self.y)

    def land(self, edge: np.ndarray, *stops: tuple[float, Colour]) -> None:
        """Cover what lies below the curve `edge` (heights, 0 to 1), with an anti-aliased edge."""
        cover = np.clip((self.y - edge) * self.height + 0.5, 0, 1)[..., None]
        self.pixels += cover * (_blend(stops, self.y) - self.pixels)

    def dots(self, places: Sequence[tuple[float, float]], radius: float, colour: Colour) -> None:
        """Round dots; places count from 0 to 1, and repeat to the right of a square; the radius is in 96ths."""
        for x, y in places:
            across = (self.x - x + 0.5) % 1 - 0.5
            far = np.hypot(across * self.unit, (self.y - y) * self.height)
            cover = np.clip(radius * self.unit / 96 - far + 0.5, 0, 1)[..., None]
            self.pixels += cover * (np.array(colour) - self.pixels)

    def ripples(self, heights: Sequence[float], thick: float, colour: Colour) -> None:
        """Wavy lines across; thickness in 96ths."""
        for k, height in enumerate(heights):
            line = height + 0.012 * np.sin(2 * np.pi * (3 * self.x + 0.37 * k))
            cover = np.clip((thick * self.unit / 96 - np.abs(self.y - line) * self.height) + 0.5, 0, 1)[..., None]
            self.pixels += 0.8 * cover * (np.array(colour) - self.pixels)

    def waves(self, height: float, rise: float, cycles: float, shift: float) -> np.ndarray:
        """A rolling curve around a height."""
        return height + rise * np.sin(2 * np.pi * (cycles * self.x + shift))


STARS = ((0.08, 0.12), (0.23, 0.3), (0.36, 0.08), (0.52, 0.22), (0.66, 0.07), (0.79, 0.27), (0.93, 0.13), (0.12, 0.5),
         (0.42, 0.44), (0.68, 0.47), (0.9, 0.43))  # fmt: skip


def _sea(canvas: Canvas) -> None:
    canvas.sky((0, (150, 206, 240)), (HORIZON, (222, 240, 248)))
    canvas.land(canvas.waves(HORIZON, 0, 1, 0), (HORIZON, (74, 148, 190)), (1, (40, 100, 150)))
    canvas.ripples((0.7, 0.81, 0.92), 1.0, (150, 200, 222))


def _meadow(canvas: Canvas) -> None:
    canvas.sky((0, (160, 212, 244)), (HORIZON, (226, 242, 248)))
    canvas.land(canvas.waves(HORIZON, 0.035, 0.9, 0.1), (HORIZON, (168, 208, 122)), (1, (150, 196, 106)))
    canvas.land(canvas.waves(HORIZON + 0.14, 0.03, 1.0, 0.55), (HORIZON, (138, 190, 98)), (1, (112, 166, 80)))


def _desert(canvas: Canvas) -> None:
    canvas.sky((0, (250, 222, 170)), (HORIZON, (252, 240, 214)))
    canvas.land(canvas.waves(HORIZON, 0.04, 0.7, 0.3), (HORIZON, (230, 190, 128)), (1, (222, 178, 114)))
    canvas.land(canvas.waves(HORIZON + 0.17, 0.05, 0.8, 0.85), (HORIZON, (212, 164, 102)), (1, (196, 148, 88)))


def _snow(canvas: Canvas) -> None:
    canvas.sky((0, (164, 184, 210)), (HORIZON, (204, 216, 230)))
    canvas.dots(STARS, 1.3, (246, 248, 252))
    canvas.land(canvas.waves(HORIZON, 0.03, 0.8, 0.6), (HORIZON, (236, 240, 248)), (1, (230, 236, 246)))
    canvas.land(canvas.waves(HORIZON + 0.17, 0.03, 1.0, 0.1), (HORIZON, (250, 251, 254)), (1, (240, 244, 250)))


def _night(canvas: Canvas) -> None:
    canvas.sky((0, (16, 20, 56)), (0.85, (54, 58, 116)))
    canvas.dots(STARS, 1.2, (236, 232, 200))
    canvas.land(canvas.waves(HORIZON + 0.17, 0.03, 0.9, 0.2), (0.7, (22, 28, 50)), (1, (14, 18, 36)))


def _sunset(canvas: Canvas) -> None:
    canvas.sky((0, (108, 82, 150)), (0.33, (216, 128, 142)), (HORIZON, (252, 204, 140)))
    canvas.land(canvas.waves(HORIZON, 0, 1, 0), (HORIZON, (128, 84, 124)), (1, (72, 52, 96)))
    canvas.ripples((0.7, 0.81, 0.92), 1.0, (214, 148, 140))


SETTINGS: dict[str, Callable[[Canvas], None]] = {
    "sea": _sea,
    "meadow": _meadow,
    "desert": _desert,
    "snow": _snow,
    "night sky": _night,
    "sunset": _sunset,
}
GROUNDS = (*PLAIN, *GRADIENTS, *SETTINGS)


@cache
def paint(name: str, width: int, height: int) -> np.ndarray:
    """float32 (height, width, 3), 0 to 255, read-only: a ground by its name."""
    canvas = Canvas(width, height)
    if name in SETTINGS:
        SETTINGS[name](canvas)
    else:
        top, bottom = GRADIENTS.get(name) or (PLAIN[name], PLAIN[name])
        canvas.sky((0, top), (1, bottom))
    pixels = canvas.pixels.astype(np.float32)
    pixels.flags.writeable = False
    return pixels


@cache
def is_light(name: str) -> bool:
    """Whether lines on this ground are dark."""
    return luminance(paint(name, 32, 32).mean((0, 1))) > 115
