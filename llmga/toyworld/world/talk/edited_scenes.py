"""Edits of the whole picture: things added, removed, exchanged and counted, its ground and style, and going back."""

from dataclasses import replace

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.relations import RELATIONS
from llmga.toyworld.world.scene import ATTRIBUTES, PLACES, SIZES, Scene, Thing
from llmga.toyworld.world.talk import fitting_scenes, nouns
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.completing import complete
from llmga.toyworld.world.talk.edits import Act, Edit, any_of
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.habits import HABITS
from llmga.toyworld.world.talk.lexicon import SETTINGS
from llmga.toyworld.world.talk.voice import Voice
from llmga.toyworld.world.talk.wishing import framed


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


def add(gallery: Gallery, voice: Voice) -> Edit | None:
    """One thing more, at a place that is named or where it is expected."""
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


def add_beside(gallery: Gallery, voice: Voice) -> Edit | None:
    """One thing more, beside, in or before one that is there."""
    scene = gallery.now
    if scene is None or (other := any_of(scene, voice)) is None:
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


def remove(gallery: Gallery, voice: Voice) -> Edit | None:
    """One of several things goes."""
    scene = gallery.now
    if scene is None or len(scene.things) < 2 or (index := any_of(scene, voice)) is None:
        return None
    new = fitting_scenes.without(scene, index)
    return Edit(new, {"it": nouns.refer(scene, index, voice)}) if new else None


def swap(name: str) -> Act:
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


def frame(name: str, values: tuple[str, ...]) -> Act:
    """Another ground or style."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        scene = gallery.now
        if scene is None or not scene.things:
            return None
        value = voice.rng.choice([each for each in values if each != getattr(scene, name)])
        new = fitting_scenes.good(framed(scene, name, value))
        if new and value in SETTINGS and voice.chance(0.4):
            where = voice.rng.choice(SETTINGS[value][0 if voice.is_english else 1])
            return Edit(new, {"x": where}, is_where=True)
        said = nouns.ground(value, voice) if name == "ground" else nouns.word(value, voice)
        return Edit(new, {"x": said}) if new else None

    return act


def earlier(number: int) -> Act:
    """A picture painted before: -2 the one before, 0 the first."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        if len(gallery.painted) < 2 or not gallery.is_own or gallery.painted[number] == gallery.now:
            return None
        return Edit(gallery.painted[number])

    return act


def again(gallery: Gallery, voice: Voice) -> Edit | None:
    """The same words once more: the painter makes another picture of them."""
    scene = gallery.now
    if scene is None or not scene.things:
        return None
    alike = tuple({"kind": thing.kind, "colour": thing.colour} for thing in scene.things)
    return Edit(scene, {}, Asked(Wish(alike, (), scene.ground, scene.style)))


def counted(count: int) -> Act:
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
