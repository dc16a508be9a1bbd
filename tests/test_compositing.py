import numpy as np
import pytest
from PIL import Image

from llmga.compositing import able_to_hold, paste_back
from llmga.errors import UserError


def left_half(size=(8, 4)):
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


@pytest.mark.parametrize(
    ("mode", "painted"),
    [
        ("L", 76), ("LA", (76, 255)), ("RGB", (255, 0, 0)), ("RGBA", (255, 0, 0, 255)), ("CMYK", (0, 255, 255, 0)),
        ("I;16", 76 * 257), ("I", 76 * 257),
    ],
)  # fmt: skip
def test_red_is_pasted_in_the_pictures_own_mode(mode, painted):
    picture = Image.new(mode, (8, 4))
    result = paste_back(picture, Image.new("RGB", (8, 4), "red"), left_half())
    assert result.mode == mode
    assert result.getpixel((0, 0)) == painted
    assert result.getpixel((7, 0)) == picture.getpixel((7, 0))


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floats_hold_shares_levels_or_16_bits(white):
    picture = Image.fromarray(np.array([[0.25 * white, white]], np.float32))
    result = np.asarray(paste_back(picture, Image.new("RGB", (2, 1), (102, 102, 102)), left_half((2, 1))))
    assert result.dtype == np.float32 and result.tolist() == [[pytest.approx(0.4 * white), white]]


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_gray_in_the_mask_mixes(mode):
    picture = Image.new(mode, (1, 1), 0)
    result = paste_back(picture, Image.new("RGB", (1, 1), "white"), Image.new("L", (1, 1), 51))
    share = np.asarray(result).max() / (255 if mode in ("L", "RGB") else 65_535)
    assert share == pytest.approx(0.2, abs=0.003)


def test_the_picture_given_is_left_alone():
    picture = Image.new("RGB", (8, 4))
    paste_back(picture, Image.new("RGB", (8, 4), "red"), left_half())
    assert picture.getpixel((0, 0)) == (0, 0, 0)


def test_transparency_of_one_colour_becomes_a_channel():
    picture = Image.new("RGB", (2, 1), (1, 2, 3))
    picture.info["transparency"] = (1, 2, 3)
    assert able_to_hold(picture).getpixel((0, 0))[3] == 0


def test_what_cannot_be_painted_into_is_told():
    with pytest.raises(UserError, match="mode LAB"):
        able_to_hold(Image.new("LAB", (1, 1)))
