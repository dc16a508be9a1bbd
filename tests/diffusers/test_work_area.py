import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from llmga.diffusers.work_area import AS_IT_IS, LONGEST, WorkArea, around

SIDE = st.integers(1, 4000)


@settings(deadline=None)
@given(SIDE, SIDE, st.sampled_from([64, 512, 1024]))
def test_the_canvas_suits_the_model_and_the_aspect_is_kept(width, height, native):
    area = WorkArea.fitted((0, 0, width, height), (native, native), 8)
    assert all(side % 8 == 0 and native / LONGEST <= side for side in area.canvas)
    assert all(part <= whole for part, whole in zip(area.content, area.canvas, strict=True))
    assert max(area.canvas) <= LONGEST * native / AS_IT_IS[0] + 8
    assert area.canvas[0] * area.canvas[1] <= (native / AS_IT_IS[0] + 16) ** 2
    scales = area.content[0] / width, area.content[1] / height
    assert abs(scales[0] - scales[1]) <= 1 / min(width, height)


def test_a_picture_of_about_the_native_size_is_not_resampled():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 70, 3), dtype=np.uint8))
    area = WorkArea.fitted((0, 0, 70, 61), (64, 64), 8)
    assert (area.content, area.canvas) == ((70, 61), (72, 64))
    assert area.back(area.picture_on_canvas(picture), picture.size).tobytes() == picture.tobytes()


def test_what_the_canvas_has_more_repeats_the_border():
    picture, mask = Image.new("RGB", (3, 1), "red"), Image.new("L", (3, 1))
    picture.putpixel((2, 0), (0, 0, 255)), mask.putpixel((2, 0), 255)
    area = WorkArea((0, 0, 3, 1), (3, 1), (8, 8))
    shown, marked = np.asarray(area.picture_on_canvas(picture)), np.asarray(area.mask_on_canvas(mask))
    assert (shown[:, :4] == (255, 0, 0)).all() and (shown[:, 4:] == (0, 0, 255)).all()
    assert (marked[:, :4] == 0).all() and (marked[:, 4:] == 255).all()


@settings(deadline=None)
@given(st.data())
def test_the_box_around_a_mask_holds_it_and_stays_in_the_picture(data):
    width, height = data.draw(SIDE), data.draw(SIDE)
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    mask = Image.new("L", (width, height))
    mask.paste(255, (left, top, right, bottom))
    box = around(mask, (64, 64))
    assert 0 <= box[0] <= left and 0 <= box[1] <= top and right <= box[2] <= width and bottom <= box[3] <= height
    assert box[2] - box[0] >= min(64, width) and box[3] - box[1] >= min(64, height)


@pytest.mark.parametrize("canvas", [(64, 64), (128, 64)])
def test_a_canvas_of_a_given_size_is_filled_on_one_axis(canvas):
    area = WorkArea.within((10, 10, 110, 60), canvas)
    assert area.content == ((64, 32) if canvas == (64, 64) else (128, 64))
