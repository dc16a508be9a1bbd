"""Scenes in other words: long prompts that say everything twice, and short captions as people write them."""

import random

from llmga.toyworld.world.captions import frame_sentences, thing_sentences
from llmga.toyworld.world.grounds import GRADIENTS, PLAIN
from llmga.toyworld.world.relations import relations
from llmga.toyworld.world.scene import STYLES, Scene, Thing
from llmga.toyworld.world.words import (
    NUMBERS,
    PLACE_PHRASES,
    RELATION_PHRASES,
    plural,
    ways_to_say,
    with_article,
)

_OPENINGS = (
    "A clean picture.",
    "A simple illustration.",
    "A calm, uncluttered scene.",
    "A cheerful little picture.",
    "",
)
_LOOKS = (
    "The {kind} is {colour} all over, with {pattern}, and its shape is easy to make out.",
    "Its colour is {colour}, its surface has {pattern}, and the {kind} is seen whole.",
    "The {colour} {kind} has {pattern} and a clear shape.",
)
_PATTERNS = {"plain": "an even fill", "striped": "slanting stripes", "dotted": "round dots in even rows"}
_ROOM = {
    "small": "It takes little room, with much space around it.",
    "medium": "It takes a fair part of the picture.",
    "large": "It takes much of the picture and draws the eye.",
}
_MANNERS = {
    "flat": "Flat colours without lines, soft even light.",
    "outlined": "Every thing has a clear line around it, as in a cartoon.",
    "sketched": "Drawn by a quick hand, with pale washes and unsteady lines.",
}
_ENDINGS = ("Nothing else is in the picture.", "No text, no other things.", "")


def detailed(scene: Scene, rng: random.Random) -> str:
    """A long prompt: the canonical sentences in a random order, and others that say the same again.

    `captions.read` gives the same scene as for the canonical form.
    """
    things = thing_sentences(scene)
    rng.shuffle(things)
    again = [_again(thing, rng) for thing in scene.things]
    beside = [_beside(scene, *relation) for relation in relations(scene)]
    frame = frame_sentences(scene)
    middle = [*again, *beside]
    rng.shuffle(middle)
    body = [*things, *middle, *frame] if rng.random() < 0.7 else [*frame, *things, *middle]
    said = [rng.choice(_OPENINGS), *body, _MANNERS[scene.style], rng.choice(_ENDINGS)]
    return " ".join(sentence for sentence in said if sentence)


def _again(thing: Thing, rng: random.Random) -> str:
    look = rng.choice(_LOOKS).format(kind=thing.kind, colour=thing.colour, pattern=_PATTERNS[thing.pattern])
    return f"{look} {_ROOM[thing.size]}"


def _beside(scene: Scene, one: int, relation: str, other: int) -> str:
    a, b = (f"the {scene.things[n].colour} {scene.things[n].kind}" for n in (one, other))
    return f"{a.capitalize()} stands {RELATION_PHRASES.get(relation, relation)} {b}."


DROPPED = 0.15  # how often a short caption keeps an attribute to itself


def short(scene: Scene, rng: random.Random, dropped: float = DROPPED) -> str:
    """A caption of a few words, in varying order and words, that may leave attributes out."""
    parts = _short_things(scene, rng, dropped)
    rng.shuffle(parts)
    for value, chance in ((scene.ground, dropped), (scene.style, 0.5)):
        if rng.random() >= chance:
            parts.insert(rng.choice((0, len(parts))), _short_frame(value, rng))
    return rng.choice((", ", ", ", "; ", " | ")).join(parts)


def _short_frame(value: str, rng: random.Random) -> str:
    word = rng.choice(ways_to_say(value))
    if value in STYLES:
        return word if " " in word else rng.choice((f"{word} style", word))
    if value in PLAIN:
        return rng.choice((f"{word} background", f"on {word}", f"plain {word} ground"))
    return f"{word} gradient" if value in GRADIENTS else word


def _short_things(scene: Scene, rng: random.Random, dropped: float) -> list[str]:
    nouns = [_short_noun(thing, rng, dropped) for thing in scene.things]
    if scene.bond:
        bound = f"{with_article(nouns[1])} {scene.bond} {with_article(nouns[0])}"
        return [_placed(bound, scene.things[0].place, rng, dropped), *_free(scene, nouns, 2, rng, dropped)]
    looks = {thing.look for thing in scene.things}
    if len(looks) == 1 and len(scene.things) > 1 and rng.random() < 0.7:
        first = scene.things[0]
        return [f"{NUMBERS[len(scene.things)]} {' '.join([*nouns[0].split()[:-1], plural(first.kind)])}"]
    found = relations(scene)
    if len(scene.things) == 2 and found and rng.random() < 0.35:
        one, relation, other = found[0]
        return [f"{with_article(nouns[one])} {relation} {with_article(nouns[other])}"]
    return _free(scene, nouns, 0, rng, dropped)


def _free(scene: Scene, nouns: list[str], start: int, rng: random.Random, dropped: float) -> list[str]:
    pairs = zip(nouns[start:], scene.things[start:], strict=True)
    return [_placed(noun, thing.place, rng, dropped) for noun, thing in pairs]


def _placed(noun: str, place: str, rng: random.Random, dropped: float) -> str:
    if rng.random() < dropped:
        return noun
    return rng.choice((f"{noun} {PLACE_PHRASES[place]}", f"{noun}, {place}", f"{place}: {noun}"))


def _short_noun(thing: Thing, rng: random.Random, dropped: float) -> str:
    """Always the kind; of its attributes those that are not dropped. The kind is one word, the last."""
    words = [rng.choice(ways_to_say(value)) for value in (thing.size, thing.colour, thing.pattern)
             if value != "plain" and rng.random() >= dropped]  # fmt: skip
    return " ".join([*words, thing.kind])
