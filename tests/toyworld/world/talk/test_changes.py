import random
from collections import Counter
from dataclasses import replace

import pytest

from llmga.toyworld.world.sampling import is_held_out, random_scene
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk import fitting_scenes
from llmga.toyworld.world.talk.asking import holds_all
from llmga.toyworld.world.talk.change_phrases import SAID
from llmga.toyworld.world.talk.changes import CHANGES, change
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.voice import LANGUAGES, Voice

BOAT = Scene("sea", "flat", (Thing("boat", "red", "small", "plain", "left"),))
PAIR = Scene("sea", "flat", (*BOAT.things, Thing("sun", "yellow", "medium", "plain", "top")))
# What a change of one value leaves as it was.
ONE_VALUE = {"colour": "colour", "size": "size", "bigger": "size", "smaller": "size", "double": "size",
             "half": "size", "place": "place", "further": "place", "opposite": "place", "kind": "kind",
             "pattern": "pattern"}  # fmt: skip


def made(kind, language="en", count=12, seed=0):
    """(before, change) of a kind, on random pictures."""
    voice = Voice(language, random.Random(seed))
    found = []
    while len(found) < count:
        scenes = [random_scene(voice.rng) for _ in range(3)]
        one = change(Gallery().with_painted(*scenes), voice, kind)
        if one is not None:
            found.append((scenes, one))
    return found


def test_every_change_has_its_wordings():
    assert set(SAID) == set(CHANGES)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [*CHANGES, "both"])
def test_a_change_makes_what_it_asks_for_and_training_may_see_it(kind, language):
    for scenes, one in made(kind, language):
        assert holds_all(one.scene, one.asked) and not is_held_out(one.scene)
        assert fitting_scenes.is_good(one.scene) and one.text.strip()
        if kind != "again":
            assert not holds_all(scenes[-1], one.asked), "the picture before would pass as changed"


@pytest.mark.parametrize("kind", ONE_VALUE)
def test_a_change_of_one_value_keeps_the_rest(kind):
    for scenes, one in made(kind, seed=1):
        before, after = scenes[-1], one.scene
        assert (before.ground, before.style, before.bond) == (after.ground, after.style, after.bond)
        rest = [Counter(tuple(value for name, value in thing.attributes.items() if name != ONE_VALUE[kind])
                        for thing in scene.things) for scene in (before, after)]  # fmt: skip
        assert rest[0] == rest[1]


def test_going_back_is_undoing():
    for scenes, one in made("back"):
        assert one.scene == scenes[-2]
    for scenes, one in made("first"):
        assert one.scene == scenes[0]


def test_changes_undo_each_other():
    voice = Voice("en", random.Random(2))
    for there, back in (("bigger", "smaller"), ("opposite", "opposite")):
        away = change(Gallery(now=BOAT), voice, there)
        assert away is not None and change(Gallery(now=away.scene), voice, back).scene == BOAT
    swapped = change(Gallery(now=PAIR), voice, "swap colours").scene
    assert swapped != PAIR and change(Gallery(now=swapped), voice, "swap colours").scene == PAIR
    more = fitting_scenes.added(BOAT, Thing("sun", "yellow"))
    assert fitting_scenes.without(more, [thing.kind for thing in more.things].index("sun")) == BOAT
    two = change(Gallery(now=BOAT), voice, "two of them").scene
    assert len(two.things) == 2 and len(change(Gallery(now=two), voice, "only one").scene.things) == 1


def test_what_a_picture_does_not_allow_is_not_asked():
    voice = Voice("en", random.Random(3))
    for kind, gallery in (("remove", Gallery(now=BOAT)), ("smaller", Gallery(now=BOAT)), ("back", Gallery(now=BOAT)),
                          ("swap colours", Gallery(now=BOAT)), ("two of them", Gallery(now=PAIR)),
                          ("colour", Gallery())):  # fmt: skip
        assert change(gallery, voice, kind) is None


def test_a_host_takes_its_guest_along_and_leaves_it_when_it_goes():
    ring = Scene("white", "flat", (Thing("ring", "red", "large"), Thing("bird", "blue", "small")), "inside")
    moved = fitting_scenes.changed(ring, 0, place="top")
    assert [thing.place for thing in moved.things] == ["top", "top"]
    assert fitting_scenes.changed(ring, 0, size="small") is None
    assert fitting_scenes.without(ring, 0) == Scene("white", "flat", (Thing("bird", "blue", "small"),))


def test_what_cannot_be_seen_is_no_good_scene():
    assert fitting_scenes.good(replace(BOAT, things=(Thing("boat", "white"),), ground="snow")) is None
