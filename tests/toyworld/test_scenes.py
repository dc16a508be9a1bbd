import random

import numpy as np
import pytest

from llmga.toyworld.scenes import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLOURS,
    MARGIN,
    SIZES,
    Scene,
    Thing,
    all_scenes,
    centre,
    draw,
    held_out_scenes,
    is_held_out,
    random_scene,
    train_scenes,
)


def test_the_world_is_as_large_as_promised():
    least = {"shape": 6, "colour": 8, "size": 3, "place": 9, "background": 6}
    assert {name: len(values) >= least[name] for name, values in ATTRIBUTES.items()} == dict.fromkeys(least, True)
    assert len(all_scenes()) == len(set(all_scenes())) == np.prod([len(values) for values in ATTRIBUTES.values()])


def test_training_and_held_out_scenes_share_none_and_every_value_is_trained():
    assert not set(train_scenes()) & set(held_out_scenes())
    assert 0.05 < len(held_out_scenes()) / len(all_scenes()) < 0.1
    for name, values in ATTRIBUTES.items():
        assert {scene.attributes[name] for scene in train_scenes()} == set(values)


def test_the_split_does_not_depend_on_the_process():
    assert is_held_out(Scene.of("star", "orange", "big", "top right", "green"))
    assert not is_held_out(Scene.of("circle", "red", "big", "center", "blue"))


def test_a_picture_shows_its_colours_in_the_middle_of_thing_and_background():
    scene = Scene.of("square", "red", "big", "top left", "blue")
    pixels = np.asarray(draw(scene))
    x, y = centre(scene.things[0], 64, 64)
    assert tuple(pixels[int(y), int(x)]) == COLOURS["red"]
    assert tuple(pixels[60, 60]) == BACKGROUNDS["blue"]


def test_edges_are_anti_aliased():
    colours = np.unique(np.asarray(draw(Scene.of("circle", "red", "big", "center", "white"))).reshape(-1, 3), axis=0)
    assert len(colours) > 10


@pytest.mark.parametrize("size", [(64, 64), (600, 450), (90, 200)])
def test_things_keep_their_aspect_and_their_margin(size):
    width, height = size
    pixels = np.asarray(draw(Scene.of("square", "red", "medium", "bottom right", "white"), *size)).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - BACKGROUNDS["white"]).sum(-1) > 100)
    wide, high = np.ptp(columns), np.ptp(rows)
    assert abs(wide - high) <= 2
    assert width - columns.max() >= MARGIN * min(size) - 2
    assert wide == pytest.approx(2 * 0.9 * SIZES["medium"] * min(size), abs=3)


def test_unknown_values_name_the_known_ones():
    with pytest.raises(ValueError, match="unknown colour 'mauve'; the toy world knows red"):
        Thing("circle", "mauve", "big", "center")


def test_several_things_are_drawn_in_different_places():
    scene = random_scene(random.Random(0), things=3)
    assert len({thing.place for thing in scene.things}) == 3
    assert np.asarray(draw(scene)).std() > 0
