import random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from llmga.toyworld import oracle
from llmga.toyworld.scenes import ATTRIBUTES, BACKGROUNDS, Scene, all_scenes, draw


def test_every_drawn_scene_is_read_right():
    wrong = [scene for scene in all_scenes() if oracle.read(draw(scene)).attributes != scene.attributes]
    assert len(wrong) <= 0.005 * len(all_scenes())


@pytest.mark.parametrize("spoil", [
    lambda picture: picture.filter(ImageFilter.GaussianBlur(0.8)),
    lambda picture: picture.point(lambda value: min(255, round(value * 1.06))),
    lambda picture: picture.resize((512, 512), Image.Resampling.BICUBIC),
], ids=["blurred", "brighter", "enlarged"])  # fmt: skip
def test_slightly_spoilt_pictures_are_still_read(spoil):
    scenes = random.Random(1).sample(all_scenes(), 200)
    right = sum(oracle.read(spoil(draw(scene))).attributes == scene.attributes for scene in scenes)
    assert right >= 198


def test_pictures_of_any_aspect_are_read():
    scenes = random.Random(2).sample(all_scenes(), 60)
    assert all(oracle.read(draw(scene, 200, 150)).attributes == scene.attributes for scene in scenes)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_wrong_attribute_is_marked_wrong_and_the_others_right(name):
    scene = Scene.of("star", "red", "medium", "center", "white")
    for value in ATTRIBUTES[name]:
        if value == scene.attributes[name]:
            continue
        verdict = oracle.score(draw(scene.with_(**{name: value})), scene.attributes)
        assert verdict == {**dict.fromkeys(ATTRIBUTES, True), name: False}


@pytest.mark.parametrize("ground", BACKGROUNDS)
def test_an_empty_background_shows_nothing(ground):
    blank = Image.new("RGB", (64, 64), BACKGROUNDS[ground])
    assert not oracle.read(blank).readable
    assert not any(oracle.score(blank, Scene.of("star", "red", "big", "center", ground).attributes).values())


def test_noise_and_photographs_of_other_things_are_not_readable():
    rng = np.random.default_rng(0)
    assert not oracle.read(Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))).readable
    gradient = np.linspace(0, 255, 64)[None, :, None] * np.ones((64, 1, 3))
    assert not oracle.read(Image.fromarray(gradient.astype(np.uint8))).readable
