"""What people expect who leave something open: the usual colours, grounds and places of every kind."""

from typing import NamedTuple

from llmga.toyworld.world.scene import PLACES

SKY, LAND, SHAPE = "sky", "land", "shape"


class Habit(NamedTuple):
    """What a kind usually looks like; what is named first is taken first."""

    colours: tuple[str, ...]
    grounds: tuple[str, ...]
    level: str = SHAPE


HABITS: dict[str, Habit] = {
    "circle": Habit(("red", "blue"), ("white", "gray")),
    "square": Habit(("blue", "red"), ("white", "gray")),
    "triangle": Habit(("green", "orange"), ("white", "gray")),
    "star": Habit(("yellow", "white"), ("night sky", "navy", "white"), SKY),
    "heart": Habit(("red", "pink"), ("pink", "white")),
    "cross": Habit(("red", "black"), ("white", "gray")),
    "ring": Habit(("purple", "orange"), ("white", "gray")),
    "diamond": Habit(("turquoise", "blue"), ("white", "gray")),
    "moon": Habit(("yellow", "white"), ("night sky", "navy", "white"), SKY),
    "arrow": Habit(("black", "red"), ("white", "gray")),
    "sun": Habit(("yellow", "orange"), ("blue to white", "blue", "white"), SKY),
    "cloud": Habit(("white", "gray"), ("blue", "sunset", "white"), SKY),
    "tree": Habit(("green", "brown"), ("meadow", "snow", "white"), LAND),
    "house": Habit(("red", "brown"), ("meadow", "snow", "white"), LAND),
    "boat": Habit(("red", "brown"), ("sea", "sunset", "white"), LAND),
    "fish": Habit(("orange", "red"), ("sea", "blue", "white"), LAND),
    "flower": Habit(("pink", "red"), ("meadow", "green to white", "white"), LAND),
    "mountain": Habit(("gray", "brown"), ("snow", "sunset", "white"), LAND),
    "car": Habit(("red", "blue"), ("desert", "gray", "white"), LAND),
    "bird": Habit(("blue", "brown"), ("green to white", "white"), SKY),
    "balloon": Habit(("red", "orange"), ("blue to white", "white"), SKY),
    "mushroom": Habit(("red", "brown"), ("meadow", "green", "white"), LAND),
    "umbrella": Habit(("purple", "red"), ("sea", "yellow", "white"), LAND),
    "butterfly": Habit(("orange", "purple"), ("meadow", "green to white", "white"), SKY),
}
# Where something stands that has company.
_FIRST = {
    SKY: ("top", "top right", "top left", "left", "right", "center"),
    LAND: ("bottom", "bottom left", "bottom right", "left", "right", "center"),
    SHAPE: ("left", "right", "center", "top", "bottom"),
}
ORDER: dict[str, tuple[str, ...]] = {
    level: (*first, *(place for place in PLACES if place not in first)) for level, first in _FIRST.items()
}
ALONE = ("center", *(place for place in PLACES if place != "center"))
