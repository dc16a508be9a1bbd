"""Masks cover what the original's cover, at every size."""

import numpy as np
import pytest
from PIL import Image, ImageChops

from llmga.errors import UserError
from llmga.masks import GENERATORS, PROBABILITIES, hide, random_mask, read_mask

SIZES = [(512, 512), (64, 64), (300, 200), (9, 31)]
# Mean coverage of the original, measured on 512x512.
COVERAGE = {"irregular": 0.18, "box": 0.085, "outpaint": 0.64}


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("size", SIZES)
def test_a_mask_has_the_size_of_the_picture_and_hides_something(kind, size):
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = GENERATORS[kind](size, rng)
        assert mask.shape == size[::-1]
        assert mask.dtype == bool
        assert mask.any()


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("size", SIZES[:3])
def test_coverage_is_that_of_the_original(kind, size):
    rng = np.random.default_rng(1)
    mean = np.mean([GENERATORS[kind](size, rng).mean() for _ in range(400)])
    assert mean == pytest.approx(COVERAGE[kind], rel=0.2)


def test_outpainting_hides_whole_strips_at_the_border():
    rng = np.random.default_rng(2)
    for _ in range(50):
        kept = ~GENERATORS["outpaint"]((100, 80), rng)
        rows, columns = kept.any(1), kept.any(0)
        assert np.array_equal(kept, np.outer(rows, columns))
        assert not (rows.all() and columns.all())


def test_the_same_seed_gives_the_same_mask_and_kinds_keep_their_probability():
    drawn = [random_mask((32, 32), np.random.default_rng(seed)) for seed in range(400)]
    again = random_mask((32, 32), np.random.default_rng(7))
    assert drawn[7][0] == again[0]
    assert np.array_equal(drawn[7][1], again[1])
    for kind, probability in PROBABILITIES.items():
        assert np.mean([name == kind for name, _ in drawn]) == pytest.approx(probability, abs=0.07)


def test_hidden_pixels_are_black_and_the_others_kept():
    image = Image.new("RGB", (4, 3), (10, 20, 30))
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    hidden = hide(image, mask)
    assert hidden.getpixel((2, 1)) == (0, 0, 0)
    assert hidden.getpixel((1, 2)) == (10, 20, 30)
    assert image.getpixel((2, 1)) == (10, 20, 30)


def test_a_mask_of_another_size_is_told():
    with pytest.raises(UserError, match="the mask is 4x3, but the picture is 3x4"):
        hide(Image.new("RGB", (3, 4)), np.zeros((3, 4), dtype=bool))


def half_marked(mode="L"):
    mask = Image.new("L", (4, 2))
    mask.paste(255, (0, 0, 2, 2))
    return mask.convert(mode)


HALF = [255, 255, 0, 0] * 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_white_is_painted_in_masks_of_every_mode(mode):
    assert list(read_mask(half_marked(mode), (4, 2)).tobytes()) == HALF


def test_gray_counts_from_the_originals_threshold():
    mask = Image.frombytes("L", (4, 1), bytes([0, 124, 125, 200]))
    assert list(read_mask(mask, (4, 1)).tobytes()) == [0, 0, 255, 255]
    assert list(read_mask(mask, (4, 1), soft=True).tobytes()) == [0, 124, 125, 200]


def test_transparent_is_painted_where_anything_is():
    picture = Image.new("RGB", (4, 2), "white")
    picture.putalpha(ImageChops.invert(half_marked()))
    assert list(read_mask(picture, (4, 2)).tobytes()) == HALF
    assert list(read_mask(picture, (4, 2), convention="transparent").tobytes()) == HALF
    with pytest.raises(UserError, match="no transparency"):
        read_mask(half_marked(), (4, 2), convention="transparent")
    with pytest.raises(UserError, match="unknown mask convention 'black'"):
        read_mask(picture, (4, 2), convention="black")
