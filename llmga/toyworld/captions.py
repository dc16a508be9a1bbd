"""Scenes in words: the detailed prompt the pipeline is finetuned on, the short caption its base knew, and back.

`detailed` is the voice the language model learns to write between the generation tags, `short` is the voice of
picture captions found with pictures, `read` parses a detailed prompt back into attributes.
"""

import random
import re

from llmga.toyworld.scenes import ATTRIBUTES, Scene, Thing

SIZE_WORDS = {"small": "small", "medium": "medium-sized", "big": "big"}
PLACE_WORDS = {
    "top left": "in the top left corner",
    "top center": "at the top center",
    "top right": "in the top right corner",
    "middle left": "at the left edge",
    "center": "in the center",
    "middle right": "at the right edge",
    "bottom left": "in the bottom left corner",
    "bottom center": "at the bottom center",
    "bottom right": "in the bottom right corner",
}
SIZE_CLAUSES = {
    "small": ("It fills only a little of the frame", "It is small, with a lot of empty space around it"),
    "medium": ("It takes up a fair part of the frame", "It is medium-sized, with room on every side"),
    "big": ("It takes up much of the frame", "It is big and dominates the picture"),
}
OPENINGS = (
    "A {size} {colour} {shape} {place} of the picture, on a plain {background} background.",
    "On a plain {background} background, a {size} {colour} {shape} {place} of the picture.",
    "A clean picture of a {size} {colour} {shape} {place} of the frame, on a flat {background} background.",
    "A flat {background} background with a {size} {colour} {shape} {place} of the frame.",
)
FILLINGS = (
    "The {shape} is filled evenly with {colour} and has crisp, smooth edges.",
    "The {colour} {shape} has a sharp outline and an even fill.",
    "Its {colour} surface is even, and the outline of the {shape} is crisp.",
)
STYLES = (
    "Flat vector style, soft even light, nothing else in the scene.",
    "Minimal flat illustration, high contrast, no other objects.",
    "Simple graphic style, clean composition, no text.",
)


def words_of(scene: Scene, thing: Thing) -> dict[str, str]:
    """The words that templates are filled with."""
    return {
        "shape": thing.shape,
        "colour": thing.colour,
        "size": SIZE_WORDS[thing.size],
        "place": PLACE_WORDS[thing.place],
        "background": scene.background,
    }


def detailed(scene: Scene, rng: random.Random) -> str:
    """A detailed prompt of 35 to 60 words that states every attribute, most of them twice."""
    if len(scene.things) > 1:
        return _detailed_several(scene, rng)
    words = words_of(scene, scene.things[0])
    middle = [rng.choice(FILLINGS).format(**words), rng.choice(SIZE_CLAUSES[scene.things[0].size]) + "."]
    rng.shuffle(middle)
    return " ".join([rng.choice(OPENINGS).format(**words), *middle, rng.choice(STYLES)])


def _detailed_several(scene: Scene, rng: random.Random) -> str:
    things = [words_of(scene, thing) for thing in scene.things]
    listed = "; ".join("a {size} {colour} {shape} {place}".format(**words) for words in things)
    return f"On a plain {scene.background} background: {listed} of the picture. {rng.choice(STYLES)}"


DROPPED = 0.12  # how often a short caption keeps an attribute to itself


def short(scene: Scene, rng: random.Random, dropped: float = DROPPED) -> str:
    """A caption of a few words, in varying order, that may leave attributes out."""
    parts = [_short_thing(thing, rng, dropped) for thing in scene.things]
    if rng.random() >= dropped:
        ground = f"{scene.background} background"
        parts.insert(rng.choice((0, len(parts))), ground)
    return ", ".join(parts)


def _short_thing(thing: Thing, rng: random.Random, dropped: float) -> str:
    kept = {name for name in ("colour", "size", "place") if rng.random() >= dropped}
    noun = " ".join(
        word
        for name, word in (("size", thing.size), ("colour", thing.colour), ("shape", thing.shape))
        if name in kept or name == "shape"
    )
    if "place" not in kept:
        return noun
    return f"{noun}, {thing.place}" if rng.random() < 0.7 else f"{thing.place}, {noun}"


_THING = re.compile(
    r"\b({size}) ({colour}) ({shape})\b".format(
        size="|".join(SIZE_WORDS.values()), colour="|".join(ATTRIBUTES["colour"]), shape="|".join(ATTRIBUTES["shape"])
    )
)
_GROUND = re.compile(rf"\b({'|'.join(ATTRIBUTES['background'])}) background\b")
_PLACE = re.compile("|".join(PLACE_WORDS.values()))
_SIZE_OF = {word: size for size, word in SIZE_WORDS.items()}
_PLACE_OF = {words: place for place, words in PLACE_WORDS.items()}


def read(text: str) -> dict[str, str]:
    """The attributes that a detailed prompt or description states about its one thing.

    An attribute that is not stated, or stated in two ways, is missing from the result.
    """
    text = text.lower()
    stated: dict[str, set[str]] = {name: set() for name in ATTRIBUTES}
    for size, colour, shape in _THING.findall(text):
        stated["size"].add(_SIZE_OF[size])
        stated["colour"].add(colour)
        stated["shape"].add(shape)
    stated["background"] |= set(_GROUND.findall(text))
    stated["place"] |= {_PLACE_OF[found] for found in _PLACE.findall(text)}
    for shape in re.findall(rf"\bthe (?:\w+ )?({'|'.join(ATTRIBUTES['shape'])})\b", text):
        stated["shape"].add(shape)
    for clause_size, clauses in SIZE_CLAUSES.items():
        if any(clause.lower() in text for clause in clauses):
            stated["size"].add(clause_size)
    return {name: values.pop() for name, values in stated.items() if len(values) == 1}
