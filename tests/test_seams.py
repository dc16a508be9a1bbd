import numpy as np
import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.seams import Seam, seam, seam_error

HOLE = np.zeros((48, 64), dtype=bool)
HOLE[12:36, 16:48] = True


def picture(slope=1.0, texture=0.0):
    y, x = np.mgrid[:48, :64]
    noise = np.random.default_rng(0).normal(0, texture, (48, 64, 3)) if texture else 0
    return (slope * (x + y))[..., None] + 50 + noise + np.zeros(3)


@pytest.mark.parametrize("slope", [0.0, 1.5])
def test_a_smooth_picture_has_no_seam(slope):
    found = seam(picture(slope), HOLE)
    assert found.colour == pytest.approx(0, abs=1e-4)
    assert found.gradient == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("texture", [0.0, 3.0])
def test_a_step_of_colour_is_its_seam(texture):
    plain, stepped = picture(0, texture), picture(0, texture)
    stepped[HOLE] += 20
    assert seam(stepped, HOLE).colour - seam(plain, HOLE).colour == pytest.approx(20, abs=4)
    assert seam(stepped, HOLE).gradient > 10


def test_a_bend_is_a_seam_of_the_gradient_only():
    y, x = np.mgrid[:48, :64]
    hole = x >= 32
    bent = (np.maximum(x - 31, 0) * 4.0)[..., None] + np.zeros(3)
    found = seam(bent, hole)
    assert found.gradient > 1.5
    assert found.colour <= 4


@pytest.mark.parametrize("value", [False, True])
def test_without_an_edge_there_is_no_seam(value):
    hole = np.full(HOLE.shape, value)
    assert seam(picture(), hole) == Seam(0.0, 0.0)
    assert seam_error(picture(), picture() + 9, hole) == 0


def test_the_error_is_the_difference_of_steps():
    moved = picture()
    moved[HOLE] += 7
    assert seam_error(moved, picture(), HOLE) == pytest.approx(7, abs=1e-4)
    assert seam_error(picture() + 5, picture(), HOLE) == pytest.approx(0, abs=1e-4)


def test_pictures_and_arrays_say_the_same():
    levels = picture().round().astype(np.uint8)
    mask = Image.fromarray(HOLE).convert("L")
    assert seam(Image.fromarray(levels), mask) == seam(levels, HOLE)
    assert seam_error(Image.fromarray(levels), levels, mask) == 0


def test_sizes_must_fit():
    with pytest.raises(UserError, match="the mask is 64x48, but the picture is 5x4"):
        seam(np.zeros((4, 5, 3)), HOLE)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7)])
def test_pictures_too_small_for_a_line_have_none(size):
    hole = np.zeros(size, dtype=bool)
    hole[0, 0] = True
    assert seam(np.zeros((*size, 3)), hole) == Seam(0.0, 0.0)
