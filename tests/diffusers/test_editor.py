import numpy as np
import pytest
import torch
from PIL import Image

from llmga.diffusers.editing import edit_timesteps
from llmga.diffusers.editor import Editor
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.work_area import WorkArea
from llmga.errors import UserError


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def editor(goldens, request):
    return load_pipeline(goldens.folder(request.param), task="editing", device="cpu")


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 83, 4), dtype=np.uint8))


def test_what_the_prompts_agree_on_stays_bit_for_bit(editor, picture):
    seen = []
    options = dict(source_prompt="a red dog", steps=4, seed=1, ratio=2.0)
    edited = editor("a blue cat", picture, on_step=lambda *step: seen.append(step), **options)
    assert edited.size == picture.size and edited.mode == "RGBA"
    changed = (np.asarray(edited) != np.asarray(picture)).any(-1)
    assert 0 < changed.mean() < 1
    assert seen == [(step, 8) for step in range(1, 9)]  # into noise and back
    assert editor("a blue cat", picture, **options).tobytes() == edited.tobytes()


def test_a_mask_says_what_may_change(editor, picture):
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, 83, 11))
    edited = editor("a blue cat", picture, mask, source_prompt="a red dog", steps=3)
    changed = (np.asarray(edited) != np.asarray(picture)).any(-1)
    assert changed[:11].mean() > 0.9 and not changed[11:].any()


def test_the_changed_part_has_the_latents_edges_at_every_size():
    area = WorkArea.fitted((0, 0, 450, 600), (64, 64), 8)
    changed = torch.zeros(area.canvas[1] // 8, area.canvas[0] // 8)
    changed[2:5, 2:5] = 1
    marked = np.asarray(Editor._on_pixels(changed, area, (450, 600)))
    assert set(np.unique(marked)) == {0, 255}
    rows, columns = (marked > 0).any(1), (marked > 0).any(0)
    assert np.array_equal(marked > 0, np.outer(rows, columns))  # one whole rectangle


def test_long_prompts_of_any_two_lengths_edit(editor, picture):
    editor("a bright star, " * 40, picture, source_prompt="a dog " * 90, steps=2, ratio=1.0)


def test_without_a_picture_words_are_painted(editor):
    assert editor("a cat", steps=1).size == (64, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_prompt": "a cat"}, "nothing to change"),
        ({"source_prompt": "a dog", "ratio": 99.0}, "use a smaller --ratio"),
        ({"skip": 1.0}, "skip 1.0"),
        ({"steps": 1}, "1 steps"),
        ({"steps": 900}, "900 steps"),
        ({"seed": -1}, "seed -1"),
        ({"size": (63, 64)}, "63"),
    ],
)
def test_what_cannot_be_edited_is_one_sentence(editor, picture, options, message):
    with pytest.raises(UserError, match=message):
        editor("a cat", picture, **{"steps": 2} | options)


def test_a_picture_that_cannot_be_changed_is_told_before_anything_is_painted(editor):
    seen = []
    with pytest.raises(UserError, match="mode LAB cannot be painted into"):
        editor("a cat", Image.new("LAB", (60, 60)), steps=2, on_step=lambda *step: seen.append(step))
    assert not seen


def test_times_fall_to_one_without_a_repeat():
    for steps in (2, 10, 50):
        times = edit_timesteps(steps, 0.25)
        assert len(times) == len(set(times)) == steps and times == sorted(times, reverse=True) and times[-1] == 1
