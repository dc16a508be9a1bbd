"""The colours of things, and the shades that a thing of one colour is drawn with."""

from functools import cache

import numpy as np

COLOURS = {
    "red": (218, 36, 40),
    "orange": (250, 136, 22),
    "yellow": (252, 214, 24),
    "green": (30, 150, 62),
    "turquoise": (34, 198, 206),
    "blue": (32, 82, 232),
    "purple": (130, 48, 188),
    "pink": (248, 98, 176),
    "brown": (124, 74, 36),
    "white": (250, 250, 250),
    "gray": (112, 114, 120),
    "black": (26, 26, 30),
}

# What a thing is made of.  `main` is the colour it is named by and carries the pattern, whose second colour is `alt`;
# `dark` and `light` are its details (a door, a window); `ink` is the line around it.
ROLES = ("main", "alt", "dark", "light", "ink")

# Shades that the rule below would leave too close to the colour itself.
_SPECIAL = {
    "white": {"alt": (148, 150, 162), "dark": (150, 152, 164), "light": (208, 210, 220)},
    "gray": {"alt": (34, 34, 38)},
    "black": {"alt": (222, 222, 226), "dark": (96, 96, 104), "light": (160, 160, 168)},
}
BRIGHT = 150  # luminance from which a pattern is darker than its ground, not lighter
DARK_INK, PALE_INK, GRAY_INK = (40, 36, 46), (246, 242, 234), (136, 136, 142)


def luminance(colour: np.ndarray | tuple[int, int, int]) -> float:
    """How bright a colour is, 0 to 255."""
    return float(np.dot(colour, (0.299, 0.587, 0.114)))


def _mixed(colour: tuple[int, int, int], other: int, share: float) -> tuple[float, ...]:
    return tuple(channel + share * (other - channel) for channel in colour)


def shades(name: str, ground_is_light: bool) -> dict[str, tuple[float, ...]]:
    """The colour of every role, channels 0 to 255.

    The line is dark on light grounds and pale on dark ones; on a thing of that very colour it is gray.
    """
    colour = COLOURS[name]
    bright = luminance(colour) > BRIGHT
    ink = DARK_INK if ground_is_light else PALE_INK
    too_close = np.linalg.norm(np.subtract(ink, colour)) < 60
    return {
        "main": colour,
        "alt": _mixed(colour, 0, 0.5) if bright else _mixed(colour, 255, 0.75),
        "dark": _mixed(colour, 0, 0.42),
        "light": _mixed(colour, 255, 0.62),
        "ink": GRAY_INK if too_close else ink,
    } | _SPECIAL.get(name, {})


@cache
def palette(name: str, ground_is_light: bool) -> np.ndarray:
    """float32 (roles, 3): `shades` in the order of `ROLES`."""
    colours = shades(name, ground_is_light)
    return np.array([colours[role] for role in ROLES], np.float32)
