"""Places that several places are: a corner, somewhere on the left."""

from dataclasses import replace

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.scene import PLACES
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.courtesies import opener
from llmga.toyworld.world.talk.sentences import body
from llmga.toyworld.world.talk.voice import Row, Voice, row

# How it is said -> the places that fulfil it, the one first that the planner takes.
LOOSE: dict[str, tuple[Row, tuple[str, ...]]] = {
    "corner": (
        row(("in a corner", "in some corner", "tucked into a corner", "somewhere in a corner", "in one of the corners"),
            ("在角落里", "放在某个角上", "在一个角落", "靠在角落", "在随便哪个角")),
        ("top right", *(place for place in PLACES if " " in place and place != "top right")),
    ),
    "left half": (
        row(("somewhere on the left", "anywhere to the left", "in the left half", "towards the left"),
            ("靠左的地方", "左半边", "偏左一些的地方", "在左半部分")),
        ("left", "top left", "bottom left"),
    ),
    "right half": (
        row(("somewhere on the right", "anywhere to the right", "in the right half", "towards the right"),
            ("靠右的地方", "右半边", "偏右一些的地方", "在右半部分")),
        ("right", "top right", "bottom right"),
    ),
    "upper half": (
        row(("somewhere up high", "high up", "in the upper half", "somewhere at the top"),
            ("高处", "上半边", "偏上的地方", "在上半部分")),
        ("top", "top left", "top right"),
    ),
    "lower half": (
        row(("somewhere down low", "low down", "in the lower half", "somewhere at the bottom"),
            ("低处", "下半边", "偏下的地方", "在下半部分")),
        ("bottom", "bottom left", "bottom right"),
    ),
}  # fmt: skip


def loosely(wish: Wish, voice: Voice) -> tuple[str, Asked, Wish] | None:
    """A wish for one thing at a loose place: its words, what is asked, and the wish that the planner makes of it."""
    if len(wish.things) != 1:
        return None
    said, places = LOOSE[voice.rng.choice(list(LOOSE))]
    thing = {name: value for name, value in wish.things[0].items() if name != "place"}
    loose = replace(wish, things=(thing,))
    between = voice.rng.choice((", ", " ")) if voice.is_english else "，"
    text = f"{body(loose, voice, opener(voice))}{between}{voice.pick(said)}"
    asked = Asked(loose, allowed={"place": frozenset(places)})
    return text, asked, replace(wish, things=({**thing, "place": places[0]},))
