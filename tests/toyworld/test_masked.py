import random

import numpy as np
import pytest

from llmga.toyworld import oracle
from llmga.toyworld.masked import without_its_sides, without_its_thing
from llmga.toyworld.scenes import BACKGROUNDS, held_out_scenes

SCENES = random.Random(0).sample(held_out_scenes(), 40)


@pytest.mark.parametrize("hide", [without_its_thing, without_its_sides])
def test_what_is_hidden_is_gray_and_the_rest_is_the_picture(hide):
    for number, scene in enumerate(SCENES):
        hidden = hide(scene, random.Random(number))
        covered = np.asarray(hidden.mask) > 0
        shown, whole = np.asarray(hidden.shown), np.asarray(hidden.picture)
        assert 0 < covered.mean() < 1
        assert (shown[covered] == 127).all()
        assert np.array_equal(shown[~covered], whole[~covered])
        assert oracle.read(hidden.picture).scene == scene


def test_nothing_is_left_of_a_hidden_thing():
    for number, scene in enumerate(SCENES):
        hidden = without_its_thing(scene, random.Random(number))
        left = np.asarray(hidden.shown)[np.asarray(hidden.mask) == 0]
        assert (left == BACKGROUNDS[scene.background]).all()


def test_another_thing_is_seen_where_it_does_not_touch_the_hole():
    seen = 0
    for number, scene in enumerate(SCENES):
        alone = without_its_thing(scene, random.Random(number))
        hidden = without_its_thing(scene, random.Random(number), company=True)
        assert hidden.box == alone.box and hidden.scene == scene
        covered, picture = np.asarray(hidden.mask) > 0, np.asarray(hidden.picture)
        assert np.array_equal(picture[covered], np.asarray(alone.picture)[covered])
        other = (picture != BACKGROUNDS[scene.background]).any(-1) & ~covered
        seen += other.any()
        if other.any():
            rows, columns = np.flatnonzero(other.any(1)), np.flatnonzero(other.any(0))
            assert len(rows) < 64 and len(columns) < 64
    assert seen > 0.8 * len(SCENES)


def test_hidden_sides_touch_the_border():
    for number, scene in enumerate(SCENES):
        covered = np.asarray(without_its_sides(scene, random.Random(number)).mask) > 0
        kept = ~covered
        assert np.array_equal(kept, np.outer(kept.any(1), kept.any(0)))
        assert covered[[0, -1]].any() or covered[:, [0, -1]].any()


def test_a_language_model_sees_black_where_something_is_hidden():
    for number, scene in enumerate(SCENES):
        hidden = without_its_thing(scene, random.Random(number))
        covered, seen = np.asarray(hidden.mask) > 0, np.asarray(hidden.blackened)
        assert (seen[covered] == 0).all() and (seen[~covered] == BACKGROUNDS[scene.background]).all()
