import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from llmga.toyworld.world import grounds
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.judging import Wish, judge
from llmga.toyworld.world.oracle import CLEAN, read
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import PATTERNS, SIZES, STYLES, Scene, Thing


def scenes(count, seed):
    rng = random.Random(seed)
    return [random_scene(rng, number % 3 + 1, held_out=None) for number in range(count)]


def share_right(pictures_of):
    """Of all claims of all scenes, how many hold."""
    verdicts = [judge(read(picture), Wish.of(scene)) for scene, picture in pictures_of]
    claims = [right for verdict in verdicts for right in verdict.values()]
    return sum(claims) / len(claims)


def spoilt(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Blurred, off by a pixel, noisy, in colours that are not quite right: worse than an autoencoder makes it."""
    blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 0.9)))
    pixels = np.roll(np.asarray(blurred, np.float32), (rng.choice((-1, 0, 1)), rng.choice((-1, 0, 1))), (0, 1))
    tint = [rng.uniform(-8, 8) for _ in range(3)]
    noise = np.random.default_rng(rng.randrange(2**31)).normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels * rng.uniform(0.96, 1.04) + tint + noise, 0, 255).astype(np.uint8))


def test_drawn_scenes_are_read():
    assert share_right((scene, draw(scene)) for scene in scenes(60, 1)) >= 0.99


def test_spoilt_scenes_are_read():
    rng = random.Random(0)
    assert share_right((scene, spoilt(draw(scene), rng)) for scene in scenes(45, 2)) >= 0.97


def test_pictures_of_other_sizes_and_aspects_are_read():
    assert share_right((scene, draw(scene, 192, 144)) for scene in scenes(12, 3)) >= 0.97
    enlarged = ((scene, draw(scene).resize((384, 384), Image.Resampling.BICUBIC)) for scene in scenes(12, 4))
    assert share_right(enlarged) >= 0.97


def test_a_reading_gives_the_scene_back():
    things = (Thing("house", "red", "large", place="left"), Thing("tree", "purple", "small", "striped", "left"),
              Thing("sun", "yellow", "small", place="top right"))  # fmt: skip
    scene = Scene("meadow", "outlined", things, "in front of")
    reading = read(draw(scene))
    assert reading.scene == scene
    assert reading.is_clean


SCENE = Scene("meadow", "outlined", (Thing("house", "red", "medium", "plain", "top left"),
                                     Thing("star", "blue", "medium", "striped", "top right")))  # fmt: skip
OTHERS = {
    "kind": ("fish", "boat"),
    "colour": ("orange", "pink"),
    "size": ("small", "large"),
    "pattern": tuple(pattern for pattern in PATTERNS if pattern != "plain"),
    "place": ("bottom left", "bottom"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_wrong_attribute_is_marked_wrong_and_everything_else_right(name):
    for value in OTHERS[name]:
        verdict = judge(read(draw(SCENE.with_thing(0, **{name: value}))), replace(Wish.of(SCENE), relations=()))
        assert [claim for claim, right in verdict.items() if not right] == [f"{name} 1"], value


@pytest.mark.parametrize(("claim", "change"), [
    *(("ground", {"ground": ground}) for ground in ("sea", "green to white", "green", "night sky")),
    *(("style", {"style": style}) for style in STYLES if style != SCENE.style),
])  # fmt: skip
def test_a_wrong_ground_or_style_is_marked_wrong(claim, change):
    verdict = judge(read(draw(replace(SCENE, **change))), Wish.of(SCENE))
    assert [name for name, right in verdict.items() if not right] == [claim]


def test_a_missing_thing_is_missed():
    verdict = judge(read(draw(replace(SCENE, things=SCENE.things[:1]))), Wish.of(SCENE))
    assert not verdict["count"] and not verdict["kind 2"] and not verdict["relation 1"]
    assert verdict["kind 1"] and verdict["clean"]


@pytest.mark.parametrize("size", SIZES[:2])
def test_a_thing_too_many_is_seen(size):
    more = replace(SCENE, things=(*SCENE.things, Thing("cloud", "gray", size, place="bottom")))
    verdict = judge(read(draw(more)), Wish.of(SCENE))
    assert [name for name, right in verdict.items() if not right] == ["count"]


def test_the_wrong_side_and_the_wrong_way_round_are_marked_wrong():
    swapped = Scene("sea", "flat", (Thing("star", "red", place="left"), Thing("boat", "blue", place="right")))
    wish = Wish(({"kind": "boat"}, {"kind": "star"}), ((0, "left of", 1),))
    assert not judge(read(draw(swapped)), wish)["relation 1"]
    assert judge(read(draw(swapped)), replace(wish, relations=((1, "left of", 0),)))["relation 1"]
    host, guest = Thing("ring", "red", "large"), Thing("fish", "blue", "small")
    inside = Scene("sea", "flat", (host, guest), "inside")
    wish = Wish(({"kind": "fish"}, {"kind": "ring"}), ((0, "inside", 1),))
    assert judge(read(draw(inside)), wish)["relation 1"]
    assert not judge(read(draw(inside)), replace(wish, relations=((1, "inside", 0),)))["relation 1"]
    assert not judge(read(draw(replace(inside, bond="in front of"))), wish)["relation 1"]


def test_a_blob_that_belongs_to_nothing_is_debris():
    clean, spoilt_picture = draw(SCENE), draw(SCENE)
    rng = np.random.default_rng(0)
    blob = Image.fromarray(rng.integers(0, 255, (9, 14, 3), dtype=np.uint8))
    spoilt_picture.paste(blob, (55, 70))
    assert read(clean).debris == 0
    assert read(spoilt_picture).debris > CLEAN
    assert not judge(read(spoilt_picture), Wish.of(SCENE))["clean"]


def test_half_a_thing_is_not_the_thing():
    picture = draw(SCENE)
    picture.paste(draw(Scene(SCENE.ground)).crop((16, 0, 96, 96)), (16, 0))  # through the middle of the house
    reading = read(picture)
    assert not reading.is_clean or all(seen.thing != SCENE.things[0] for seen in reading.things)


@pytest.mark.parametrize("ground", grounds.GROUNDS)
def test_an_empty_ground_shows_nothing(ground):
    reading = read(draw(Scene(ground)))
    assert (reading.ground, reading.things, reading.debris) == (ground, (), 0)


def test_noise_is_debris():
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    assert read(Image.fromarray(noise)).debris > 0.2


def test_what_is_left_open_is_not_judged():
    reading = read(draw(SCENE))
    wish = Wish(({"colour": "blue"},), only=False)
    assert judge(reading, wish) == {"clean": True, "colour 1": True}
    assert judge(reading, replace(wish, only=True))["count"] is False
