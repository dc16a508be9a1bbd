"""Changes to the picture that is talked about: the table of them, and how they are asked for."""

import re
from dataclasses import dataclass, replace

from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.scene import ATTRIBUTES, PATTERNS, PLACES, SIZES, STYLES, Scene
from llmga.toyworld.world.talk import edited_scenes, edited_things
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.change_phrases import AROUND, BOTH, SAID, SHORT, SHORTENED, WHERE_ALL
from llmga.toyworld.world.talk.edits import Act, Edit
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.sentences import articles
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Row, Voice

CHANGES: dict[str, Act] = {
    "colour": edited_things.of_thing("colour", ATTRIBUTES["colour"]),
    "size": edited_things.of_thing("size", SIZES),
    "bigger": edited_things.sized(1),
    "smaller": edited_things.sized(-1),
    "double": edited_things.sized(2),
    "half": edited_things.sized(-2),
    "place": edited_things.of_thing("place", PLACES),
    "further": edited_things.further,
    "opposite": edited_things.opposite,
    "beside": edited_things.beside,
    "kind": edited_things.of_thing("kind", tuple(KINDS)),
    "add": edited_scenes.add,
    "add beside": edited_scenes.add_beside,
    "remove": edited_scenes.remove,
    "swap colours": edited_scenes.swap("colour"),
    "swap places": edited_scenes.swap("place"),
    "pattern": edited_things.of_thing("pattern", PATTERNS),
    "ground": edited_scenes.frame("ground", GROUNDS),
    "style": edited_scenes.frame("style", STYLES),
    "back": edited_scenes.earlier(-2),
    "first": edited_scenes.earlier(0),
    "again": edited_scenes.again,
    "two of them": edited_scenes.counted(2),
    "three of them": edited_scenes.counted(3),
    "only one": edited_scenes.counted(1),
}
PAIRED = ("colour", "size", "pattern", "place", "ground", "style")  # two of these may be asked for at once
TRIES = 12


@dataclass(frozen=True)
class Change:
    """A change as it was asked for: a row of `CHANGES` or `both`."""

    text: str
    kind: str
    asked: Asked
    scene: Scene


def change(gallery: Gallery, voice: Voice, kind: str = "") -> Change | None:
    """A change of a kind; None when this picture does not allow one."""
    made = _both(gallery, voice) if kind == "both" else _one(gallery, voice, kind)
    if made is None:
        return None
    said, edit = made
    text = typed(around(said, voice), voice)
    return Change(text, kind, edit.asked or Asked.of(edit.scene), edit.scene)


def around(said: str, voice: Voice) -> str:
    """A change with what people say before and after it."""
    return re.sub(r"[?？](?=[,;，；])", "", voice.pick(AROUND, x=said))


def _one(gallery: Gallery, voice: Voice, kind: str) -> tuple[str, Edit] | None:
    for _ in range(TRIES):
        edit = CHANGES[kind](gallery, voice)
        if edit is not None:
            said = voice.pick(_wording(kind, gallery, edit, voice), **edit.words)
            return (articles(said) if voice.is_english else said), edit
    return None


def _wording(kind: str, gallery: Gallery, edit: Edit, voice: Voice) -> Row:
    """How it is said: in short where there is only one thing."""
    if edit.is_where:
        return WHERE_ALL
    alone = gallery.now is not None and len(gallery.now.things) == 1
    return SHORT[kind] if alone and kind in SHORT and voice.chance(SHORTENED) else SAID[kind]


def _both(gallery: Gallery, voice: Voice) -> tuple[str, Edit] | None:
    """Two changes in one sentence."""
    first, second = voice.rng.sample(PAIRED, 2)
    one = _one(gallery, voice, first)
    if one is None:
        return None
    two = _one(replace(gallery, now=one[1].scene), voice, second)
    if two is None:
        return None
    said = voice.pick(BOTH, one=one[0].rstrip("?？"), two=two[0].rstrip("?？"))
    return said, Edit(two[1].scene)
