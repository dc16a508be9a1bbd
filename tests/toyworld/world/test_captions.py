import random

import pytest

from llmga.toyworld.world.captions import canonical, read
from llmga.toyworld.world.relations import relations
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.wordings import detailed, short

STAR = Thing("star", "red", "large", "striped", "top left")


@pytest.mark.parametrize(("scene", "said"), [
    (Scene("sea", "flat", (STAR,)),
     "A large red striped star is in the top left corner. The background is the sea. The style is flat."),
    (Scene("white", "outlined", (Thing("fish", "orange", "small", place="top"),
                                 Thing("fish", "orange", "small", place="right"))),
     "Two small orange fish are at the top and on the right. The background is plain white. The style is outlined."),
    (Scene("blue to white", "sketched", (Thing("ring", "red", "large"), Thing("bird", "blue", "small")), "inside"),
     "A small blue bird is inside a large red ring in the center. The background is fading from blue to white. "
     "The style is sketched."),
    (Scene("snow"), "The background is a snowy field. The style is flat."),
])  # fmt: skip
def test_the_canonical_form(scene, said):
    assert canonical(scene) == said
    assert read(said) == scene


def test_every_scene_is_read_back_from_its_canonical_and_its_long_form():
    rng = random.Random(0)
    for _ in range(150):
        scene = random_scene(rng, held_out=None)
        assert read(canonical(scene)) == scene
        assert read(detailed(scene, rng)) == scene


@pytest.mark.parametrize("text", [
    "A large red star is at the top. The style is flat.",
    "A large red star is at the top. The background is the sea. The background is plain white. The style is flat.",
    "A large red star is at the top. A small blue car is at the top. The background is the sea. The style is flat.",
])  # fmt: skip
def test_what_is_missing_or_contradictory_is_no_scene(text):
    assert read(text) is None


def test_another_attribute_is_another_scene():
    said = canonical(Scene("sea", "flat", (STAR,)))
    for old, new in (("large", "small"), ("red", "blue"), ("striped ", ""), ("star", "sun"), ("top left", "top right"),
                     ("the sea", "a sandy desert"), ("flat", "sketched")):  # fmt: skip
        changed = read(said.replace(old, new))
        assert changed is not None and changed != Scene("sea", "flat", (STAR,))


def test_short_captions_vary_and_always_name_the_kinds():
    rng = random.Random(1)
    scene = Scene("sea", "flat", (STAR, Thing("boat", "blue", "small", place="bottom")))
    said = [short(scene, rng) for _ in range(40)]
    assert len(set(said)) > 30
    assert all("star" in text and "boat" in text for text in said)
    assert max(len(text.split()) for text in said) < 30


def test_long_prompts_exceed_what_clip_reads():
    scene = random_scene(random.Random(2), 3)
    assert len(detailed(scene, random.Random(0)).split()) > 77


def test_relations_are_those_that_people_would_name():
    scene = Scene("sea", "flat", (STAR, Thing("boat", "blue", "small", place="bottom left")))
    assert relations(scene) == [(0, "above", 1)]
    pair = Scene("sea", "flat", (Thing("ring", "red", "large"), Thing("bird", "blue", "small")), "inside")
    assert relations(pair) == [(1, "inside", 0)]
