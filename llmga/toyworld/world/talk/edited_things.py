"""Edits of one thing: its values, in words and relative, and its place beside others."""

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.relations import SIDES
from llmga.toyworld.world.scene import PLACES, SIZES
from llmga.toyworld.world.talk import fitting_scenes, nouns
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.change_phrases import WAYS
from llmga.toyworld.world.talk.edits import Act, Edit, any_of
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.voice import Voice


def of_thing(name: str, values: tuple[str, ...]) -> Act:
    """A change of one attribute to another value, said as such."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        scene = gallery.now
        if scene is None or (index := any_of(scene, voice)) is None:
            return None
        value = voice.rng.choice([each for each in values if each != getattr(scene.things[index], name)])
        new = fitting_scenes.changed(scene, index, **{name: value})
        said = nouns.place(value, voice) if name == "place" else nouns.word(value, voice)
        said = nouns.wished({"kind": value}, voice) if name == "kind" else said
        return Edit(new, {"it": nouns.refer(scene, index, voice), "x": said}) if new else None

    return act


def sized(step: int) -> Act:
    """So many steps up or down, as far as there are any."""

    def act(gallery: Gallery, voice: Voice) -> Edit | None:
        scene = gallery.now
        if scene is None or (index := any_of(scene, voice)) is None:
            return None
        now = SIZES.index(scene.things[index].size)
        after = min(max(now + step, 0), len(SIZES) - 1)
        new = fitting_scenes.changed(scene, index, size=SIZES[after]) if after != now else None
        return Edit(new, {"it": nouns.refer(scene, index, voice)}) if new else None

    return act


def further(gallery: Gallery, voice: Voice) -> Edit | None:
    """One step on the nine-fold grid."""
    scene = gallery.now
    if scene is None or (index := any_of(scene, voice)) is None:
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


def opposite(gallery: Gallery, voice: Voice) -> Edit | None:
    """Through the middle of the picture to the other side or corner."""
    scene = gallery.now
    if scene is None or (index := any_of(scene, voice)) is None or scene.things[index].place == "center":
        return None
    place = PLACES[len(PLACES) - 1 - PLACES.index(scene.things[index].place)]
    new = fitting_scenes.changed(scene, index, place=place)
    return Edit(new, {"it": nouns.refer(scene, index, voice)}) if new else None


def beside(gallery: Gallery, voice: Voice) -> Edit | None:
    """To a side of another thing on which it is not yet; where exactly is left open."""
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
