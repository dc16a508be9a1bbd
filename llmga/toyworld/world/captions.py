"""Scenes in words: the canonical form, from which a scene can be read back."""

import re
from collections.abc import Sequence

from llmga.toyworld.world.scene import ATTRIBUTES, BONDS, STYLES, Scene, Thing
from llmga.toyworld.world.words import (
    GROUND_PHRASES,
    NUMBERS,
    PLACE_PHRASES,
    listed,
    noun_phrase,
    plural,
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
    for found in bonds:
        guest, host, place = found[:4], found[5:9], found[9]
        things = [_thing(host, place), _thing(guest, place)]
    for found in _STANDS.findall(text):
        things += [_thing(found[1:5], place) for place in re.findall(_WHERE, found[5])]
    try:
        return Scene(_GROUND_OF[grounds.pop()], styles.pop(), tuple(things), bonds[0][4] if bonds else "")
    except ValueError:
        return None


def _thing(look: Sequence[str], place: str) -> Thing:
    """A thing of size, colour, pattern and kind as they are said."""
    size, colour, pattern, kind = look
    return Thing(_KIND_OF[kind], colour, size, pattern or "plain", _PLACE_OF[place])
