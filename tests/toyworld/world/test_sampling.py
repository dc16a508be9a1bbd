import random

from llmga.toyworld.world.layout import is_clear
from llmga.toyworld.world.sampling import carries, held_out_pairs, is_chosen, is_held_out, is_visible, random_scene
from llmga.toyworld.world.scene import ATTRIBUTES, BONDS, Scene, Thing


def scenes(count, seed=0, **how):
    rng = random.Random(seed)
    return [random_scene(rng, **how) for _ in range(count)]


def test_the_same_seed_gives_the_same_scenes():
    assert scenes(20) == scenes(20) != scenes(20, seed=1)


def test_everything_can_be_seen():
    for scene in scenes(300, held_out=None):
        assert is_clear(scene)
        assert all(is_visible(thing.colour, scene.ground) for thing in scene.things)
        assert all(carries(thing.kind, thing.size, thing.pattern) for thing in scene.things)


def test_training_never_sees_a_held_out_pair_and_sees_every_value():
    train = scenes(1500)
    assert not any(is_held_out(scene) for scene in train)
    for name, values in ATTRIBUTES.items():
        assert {getattr(thing, name) for scene in train for thing in scene.things} == set(values)
    assert {scene.bond for scene in train} == {"", *BONDS}
    assert {len(scene.things) for scene in train} == {1, 2, 3}
    assert any(max(scene.counts().values()) > 1 for scene in train)


def test_held_out_scenes_have_such_a_pair():
    for scene in scenes(60, held_out=True):
        assert list(held_out_pairs(scene))


def test_the_split_does_not_depend_on_the_process():
    assert is_chosen("star", "red") and not is_chosen("star", "blue")
    red = Scene("white", "flat", (Thing("star", "red"),))
    assert list(held_out_pairs(red)) == [("star", "red")]


def test_white_is_not_seen_on_snow_nor_black_at_night():
    assert not is_visible("white", "snow") and not is_visible("black", "night sky")
    assert is_visible("white", "night sky") and is_visible("black", "snow")
