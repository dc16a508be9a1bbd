"""Scenes in words: one canonical form, from which the scene can be read back, and the many that people use."""

import random
import re

from llmga.toyworld.world.grounds import GRADIENTS, PLAIN
from llmga.toyworld.world.relations import relations
from llmga.toyworld.world.scene import ATTRIBUTES, BONDS, STYLES, Scene, Thing
from llmga.toyworld.world.words import (
    GROUND_PHRASES,
    NUMBERS,
    PLACE_PHRASES,
    RELATION_PHRASES,
    listed,
    noun_phrase,
    plural,
    ways_to_say,
    with_article,
)


def canonical(scene: Scene) -> str:
    """The detailed prompt of a scene: a sentence for every thing (or number of equal things), ground and style.

    >>> canonical(Scene("sea", "flat", (Thing("star", "red", "large", "striped", "top left"),)))
    'A large red striped star is in the top left corner. The background is the sea. The style is flat.'
    """
    return " ".join([*thing_sentences(scene), *frame_sentences(scene)])


def thing_sentences(scene: Scene) -> list[str]:
    """What the picture shows."""
    things = list(scene.things)
    said = []
    if scene.bond:
        host, guest = things[:2]
        said.append(f"A {noun_phrase(guest)} is {scene.bond} a {noun_phrase(host)} {PLACE_PHRASES[host.place]}.")
        things = things[2:]
    for look in dict.fromkeys(thing.look for thing in things):
        alike = [thing for thing in things if thing.look == look]
        places = listed([PLACE_PHRASES[thing.place] for thing in alike])
        several = len(alike) > 1
        subject = f"{NUMBERS[len(alike)].capitalize()}" if several else "A"
        said.append(f"{subject} {noun_phrase(alike[0], several)} {'are' if several else 'is'} {places}.")
    return said


def frame_sentences(scene: Scene) -> list[str]:
    """What it stands on, and how it is drawn."""
    return [f"The background is {GROUND_PHRASES[scene.ground]}.", f"The style is {scene.style}."]


def _any(values: tuple[str, ...] | list[str]) -> str:
    return "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))


_KIND_OF = {said: kind for kind in ATTRIBUTES["kind"] for said in (kind, plural(kind))}
_PLACE_OF = {said: place for place, said in PLACE_PHRASES.items()}
_GROUND_OF = {said: ground for ground, said in GROUND_PHRASES.items()}
_NOUN = "({size}) ({colour})(?: ({pattern}))? ({kind})".format(
    size=_any(ATTRIBUTES["size"]), colour=_any(ATTRIBUTES["colour"]), pattern=_any(ATTRIBUTES["pattern"][1:]),
    kind=_any(list(_KIND_OF)),
)  # fmt: skip
_WHERE = f"(?:{_any(list(_PLACE_OF))})"
_STANDS = re.compile(rf"\b(a|two|three) {_NOUN} (?:is|are) ({_WHERE}(?:(?:, | and ){_WHERE})*)\.", re.IGNORECASE)
_BOUND = re.compile(rf"\ba {_NOUN} is ({_any(BONDS)}) a {_NOUN} ({_WHERE})\.", re.IGNORECASE)
_GROUND = re.compile(rf"\bthe background is ({_any(list(_GROUND_OF))})\.", re.IGNORECASE)
_STYLE = re.compile(rf"\bthe style is ({_any(STYLES)})\.", re.IGNORECASE)


def read(text: str) -> Scene | None:
    """The scene that canonical sentences state, in any order and between any others.

    Returns:
        None when ground or style is missing or stated in two ways, or when the things cannot be in one scene.
    """
    text = text.lower()
    grounds, styles = set(_GROUND.findall(text)), set(_STYLE.findall(text))
    if len(grounds) != 1 or len(styles) != 1:
        return None
    things: list[Thing] = []
    bonds = _BOUND.findall(text)
    if len(bonds) > 1:
        return None
    for *guest, _bond, size, colour, pattern, kind, place in bonds:
        things = [_thing(size, colour, pattern, kind, place), _thing(*guest, place)]
    for _, *look, places in _STANDS.findall(text):
        things += [_thing(*look, place) for place in re.findall(_WHERE, places)]
    try:
        return Scene(_GROUND_OF[grounds.pop()], styles.pop(), tuple(things), bonds[0][4] if bonds else "")
    except ValueError:
        return None


def _thing(size: str, colour: str, pattern: str, kind: str, place: str) -> Thing:
    return Thing(_KIND_OF[kind], colour, size, pattern or "plain", _PLACE_OF[place])


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

    `read` gives the same scene as for the canonical form.
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
