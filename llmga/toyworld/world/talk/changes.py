"""Changes to the picture that is talked about: how each is made, and what its picture has to hold."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.relations import RELATIONS, SIDES
from llmga.toyworld.world.scene import ATTRIBUTES, PATTERNS, PLACES, SIZES, STYLES, Scene, Thing
from llmga.toyworld.world.talk import fitting_scenes, nouns
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.change_phrases import AROUND, BOTH, SAID, WAYS
from llmga.toyworld.world.talk.completing import complete
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.habits import HABITS
from llmga.toyworld.world.talk.sentences import articles
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Voice


@dataclass(frozen=True)
class Edit:
    """A new scene, the words for the slots of its row, and what is judged (default: everything in it)."""

    scene: Scene
    words: Mapping[str, str] = field(default_factory=dict)
    asked: Asked | None = None


Act = Callable[[Gallery, Voice], Edit | None]


def _any(scene: Scene, voice: Voice) -> int | None:
    """One of the things."""
    return voice.rng.randrange(len(scene.things)) if scene.things else None


def _of_thing(name: str, values: tuple[str, ...]) -> Act:
    """A change of one attribute to another value, said as such."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        scene = gallery.now
        if scene is None or (index := _any(scene, voice)) is None:
            return None
        value = voice.rng.choice([each for each in values if each != getattr(scene.things[index], name)])
        new = fitting_scenes.changed(scene, index, **{name: value})
        said = nouns.place(value, voice) if name == "place" else nouns.word(value, voice)
        said = nouns.wished({"kind": value}, voice) if name == "kind" else said
        return Edit(new, {"it": nouns.refer(scene, index, voice), "x": said}) if new else None

    return act


def _sized(step: int) -> Act:
    """So many steps up or down, as far as there are any."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        scene = gallery.now
        if scene is None or (index := _any(scene, voice)) is None:
            return None
        now = SIZES.index(scene.things[index].size)
        after = min(max(now + step, 0), len(SIZES) - 1)
        new = fitting_scenes.changed(scene, index, size=SIZES[after]) if after != now else None
        return Edit(new, {"it": nouns.refer(scene, index, voice)}) if new else None

    return act


def _further(gallery: Gallery, voice: Voice) -> Edit | None:
    scene = gallery.now
    if scene is None or (index := _any(scene, voice)) is None:
        return None
    row, column = divmod(PLACES.index(scene.things[index].place), 3)
    way = voice.rng.choice(tuple(WAYS))
    row += {"up": -1, "down": 1}.get(way, 0)
    column += {"left": -1, "right": 1}.get(way, 0)
    if not (0 <= row < 3 and 0 <= column < 3):
        return None
    new = fitting_scenes.changed(scene, index, place=PLACES[3 * row + column])
    words = {"it": nouns.refer(scene, index, voice), "x": WAYS[way][0 if voice.is_english else 1]}
    return Edit(new, words) if new else None


def _opposite(gallery: Gallery, voice: Voice) -> Edit | None:
    scene = gallery.now
    if scene is None or (index := _any(scene, voice)) is None or scene.things[index].place == "center":
        return None
    place = PLACES[len(PLACES) - 1 - PLACES.index(scene.things[index].place)]
    new = fitting_scenes.changed(scene, index, place=place)
    return Edit(new, {"it": nouns.refer(scene, index, voice)}) if new else None


def _beside(gallery: Gallery, voice: Voice) -> Edit | None:
    scene = gallery.now
    if scene is None or len(scene.things) < 2 or scene.bond:
        return None
    index, other = voice.rng.sample(range(len(scene.things)), 2)
    relation = voice.rng.choice(SIDES)
    new = fitting_scenes.moved_beside(scene, index, relation, other)
    if new is None or fitting_scenes.stands(scene, scene.things[index], relation, scene.things[other]):
        return None
    things = [thing.attributes for thing in scene.things]
    del things[index]["place"]
    words = {"it": nouns.refer(scene, index, voice), "other": nouns.refer(scene, other, voice),
             "rel": nouns.relation(relation, voice)}  # fmt: skip
    return Edit(new, words, Asked(Wish(tuple(things), ((index, relation, other),), scene.ground, scene.style)))


def _new_thing(scene: Scene, voice: Voice, size: str) -> tuple[Thing, dict[str, str]]:
    """A thing of another kind than those that are there, and what is named of it."""
    kind = voice.rng.choice([kind for kind in KINDS if kind not in scene.counts()])
    usual = [colour for colour in HABITS[kind].colours]
    colour = voice.rng.choice(ATTRIBUTES["colour"]) if voice.chance(0.6) else usual[0]
    named = {"kind": kind}
    if colour != usual[0] or voice.chance(0.3):
        named["colour"] = colour
    if voice.chance(0.3):
        size = voice.rng.choice(SIZES)
        named["size"] = size
    return Thing(kind, colour, size), named


def _add(gallery: Gallery, voice: Voice) -> Edit | None:
    scene = gallery.now
    if scene is None:
        return None
    thing, named = _new_thing(scene, voice, "small" if len(scene.things) > 1 else "medium")
    if scene.things and voice.chance(0.4):
        named["place"] = voice.rng.choice(PLACES)
        new = fitting_scenes.made(scene, [*scene.things, replace(thing, place=named["place"])]
                                  ) if len(scene.things) < 3 else None  # fmt: skip
    else:
        new = fitting_scenes.added(scene, thing)
    said = nouns.wished(named, voice)
    if "place" in named:
        where = nouns.place(named["place"], voice)
        said = f"{said} {where}" if voice.is_english else f"{said}，放在{where}"
    return Edit(new, {"x": said}, _with_new(scene, named)) if new else None


def _add_beside(gallery: Gallery, voice: Voice) -> Edit | None:
    scene = gallery.now
    if scene is None or (other := _any(scene, voice)) is None:
        return None
    relation = voice.rng.choice(RELATIONS)
    thing, named = _new_thing(scene, voice, "small")
    new = fitting_scenes.added(scene, thing, relation, other)
    words = {"x": nouns.wished(named, voice), "rel": nouns.relation(relation, voice),
             "other": nouns.refer(scene, other, voice)}  # fmt: skip
    return Edit(new, words, _with_new(scene, named, relation, other)) if new else None


def _with_new(scene: Scene, named: dict[str, str], relation: str = "", other: int = -1) -> Asked:
    """All that was there, and of the new thing what was named."""
    things = (*(thing.attributes for thing in scene.things), named)
    told = ((len(scene.things), relation, other),) if relation else ()
    return Asked(Wish(things, told, scene.ground, scene.style))


def _remove(gallery: Gallery, voice: Voice) -> Edit | None:
    scene = gallery.now
    if scene is None or len(scene.things) < 2 or (index := _any(scene, voice)) is None:
        return None
    new = fitting_scenes.without(scene, index)
    return Edit(new, {"it": nouns.refer(scene, index, voice)}) if new else None


def _swap(name: str) -> Act:
    """Two things exchange a value."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        scene = gallery.now
        if scene is None or len(scene.things) != 2 or (name == "place" and scene.bond):
            return None
        one, other = scene.things
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine == theirs or (name == "place" and one.look == other.look):
            return None
        new = fitting_scenes.made(scene, [replace(one, **{name: theirs}), replace(other, **{name: mine})])
        words = {"it": nouns.refer(scene, 0, voice), "other": nouns.refer(scene, 1, voice)}
        return Edit(new, words) if new else None

    return act


def _frame(name: str, values: tuple[str, ...]) -> Act:
    """Another ground or style."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        scene = gallery.now
        if scene is None or not scene.things:
            return None
        value = voice.rng.choice([each for each in values if each != getattr(scene, name)])
        changed = replace(scene, ground=value) if name == "ground" else replace(scene, style=value)
        new = fitting_scenes.good(changed)
        said = nouns.ground(value, voice) if name == "ground" else nouns.word(value, voice)
        return Edit(new, {"x": said}) if new else None

    return act


def _earlier(number: int) -> Act:
    """A picture painted before: -2 the one before, 0 the first."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        if len(gallery.painted) < 2 or not gallery.is_own or gallery.painted[number] == gallery.now:
            return None
        return Edit(gallery.painted[number])

    return act


def _again(gallery: Gallery, voice: Voice) -> Edit | None:
    scene = gallery.now
    if scene is None or not scene.things:
        return None
    alike = tuple({"kind": thing.kind, "colour": thing.colour} for thing in scene.things)
    return Edit(scene, {}, Asked(Wish(alike, (), scene.ground, scene.style)))


def _counted(count: int) -> Act:
    """So many of the one kind that is there."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        scene = gallery.now
        if scene is None or not scene.things or len(scene.things) == count or scene.bond:
            return None
        if len({thing.look for thing in scene.things}) > 1:
            return None
        look = scene.things[0].attributes
        del look["place"]
        wish = Wish((look,) * count, (), scene.ground, scene.style)
        new = complete(wish)
        return Edit(new, {}, Asked(wish)) if new else None

    return act


CHANGES: dict[str, Act] = {
    "colour": _of_thing("colour", ATTRIBUTES["colour"]),
    "size": _of_thing("size", SIZES),
    "bigger": _sized(1),
    "smaller": _sized(-1),
    "double": _sized(2),
    "half": _sized(-2),
    "place": _of_thing("place", PLACES),
    "further": _further,
    "opposite": _opposite,
    "beside": _beside,
    "kind": _of_thing("kind", tuple(KINDS)),
    "add": _add,
    "add beside": _add_beside,
    "remove": _remove,
    "swap colours": _swap("colour"),
    "swap places": _swap("place"),
    "pattern": _of_thing("pattern", PATTERNS),
    "ground": _frame("ground", GROUNDS),
    "style": _frame("style", STYLES),
    "back": _earlier(-2),
    "first": _earlier(0),
    "again": _again,
    "two of them": _counted(2),
    "three of them": _counted(3),
    "only one": _counted(1),
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
            said = voice.pick(SAID[kind], **edit.words)
            return (articles(said) if voice.is_english else said), edit
    return None


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
