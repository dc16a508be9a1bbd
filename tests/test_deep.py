"""Colours of 16 bits: read, carried, mixed and written; the judge is OpenCV, which reads and writes them itself."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from llmga import deep
from llmga.compositing import paste_back
from llmga.images import open_image

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def colours(channels=3, height=37, width=53):
    return np.random.default_rng(channels).integers(0, 65_536, (height, width, channels), dtype=np.uint16)


def order(values):
    """RGB(A) to OpenCV's BGR(A), and back."""
    return values[..., [2, 1, 0, 3][: values.shape[2]]]


def written(path, values):
    assert cv2.imwrite(str(path), order(values))
    return path


def read(content):
    return order(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_every_bit_of_a_file_is_read(tmp_path, name, channels):
    values = colours(channels)
    picture = open_image(written(tmp_path / name, values), exact=True)
    assert picture.mode == {3: "RGB", 4: "RGBA"}[channels]
    np.testing.assert_array_equal(deep.levels(picture), values)
    np.testing.assert_array_equal(np.asarray(picture), values >> 8)


@pytest.mark.parametrize("options", [
    {}, {"byteorder": ">"}, {"compression": "deflate"}, {"tile": (16, 16)},
    {"byteorder": ">", "compression": "deflate", "predictor": True},
], ids=str)  # fmt: skip
def test_tiffs_of_every_layout_are_read(tmp_path, options):
    tifffile = pytest.importorskip("tifffile")
    values = colours()
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", iccprofile=ICC, **options)
    picture = open_image(tmp_path / "a.tif", exact=True)
    np.testing.assert_array_equal(deep.levels(picture), values)
    assert picture.info["icc_profile"] == ICC


def test_a_turned_picture_is_read_upright(tmp_path):
    values = colours()
    path = written(tmp_path / "a.png", values)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(path).save(buffer, "PNG", exif=exif)
    path.write_bytes(deep.into_png(buffer.getvalue(), values))
    picture = open_image(path, exact=True)
    assert picture.size == (37, 53)
    np.testing.assert_array_equal(deep.levels(picture), np.rot90(values, -1))


@pytest.mark.parametrize("save", [
    lambda path: Image.fromarray((colours() >> 8).astype(np.uint8)).save(path),
    lambda path: Image.new("I;16", (9, 8), 300).save(path),
    lambda path: Image.new("P", (9, 8)).save(path),
    lambda path: Image.new("RGB", (9, 8)).save(path, "JPEG"),
])  # fmt: skip
def test_other_pictures_are_what_they_were(tmp_path, save):
    save(tmp_path / "a.png")
    picture = open_image(tmp_path / "a.png", exact=True)
    assert deep.levels(picture) is None and deep.KEY not in picture.info


def test_what_changes_a_picture_unknowingly_leaves_8_bits(tmp_path):
    picture = open_image(written(tmp_path / "a.png", colours()), exact=True)
    for changed in (
        ImageOps.invert(picture),
        picture.resize((9, 9)),
        picture.crop((1, 0, 54, 37)),
        picture.convert("L"),
    ):
        assert deep.levels(changed) is None
    assert deep.levels(picture.copy()) is not None


@pytest.mark.parametrize("channels", [3, 4])
def test_kept_pixels_keep_every_bit_and_painted_ones_take_the_whole_scale(tmp_path, channels):
    values = colours(channels)
    picture = open_image(written(tmp_path / "a.png", values), exact=True)
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, 20, 37))
    mask.paste(51, (20, 0, 21, 37))
    result = deep.levels(paste_back(picture, Image.new("RGB", picture.size, (255, 128, 1)), mask))
    np.testing.assert_array_equal(result[:, 21:], values[:, 21:])
    assert (result[:, :20] == [65_535, 128 * 257, 257, 65_535][:channels]).all()
    np.testing.assert_allclose(result[:, 20, 0], values[:, 20, 0] * 0.8 + 65_535 * 0.2, atol=0.5)


@pytest.mark.parametrize("channels", [3, 4])
def test_files_are_read_back_by_others_with_their_profile(channels):
    values = colours(channels)
    buffer = io.BytesIO()
    deep.of_levels(values).save(buffer, "PNG", icc_profile=ICC)
    for content in (deep.into_png(buffer.getvalue(), values), deep.tiff(values, ICC)):
        np.testing.assert_array_equal(read(content), values)
        picture = Image.open(io.BytesIO(content))
        picture.load()
        assert picture.info["icc_profile"] == ICC and picture.mode == {3: "RGB", 4: "RGBA"}[channels]


def test_parts_are_cut_and_pasted_with_their_levels(tmp_path):
    values = colours()
    picture = open_image(written(tmp_path / "a.png", values), exact=True)
    part = deep.cropped(picture, (10, 5, 30, 25))
    np.testing.assert_array_equal(deep.levels(part), values[5:25, 10:30])
    plain = Image.new("RGB", picture.size, (1, 2, 3))
    deep.paste(plain, part, (0, 0))
    whole = deep.levels(plain)
    np.testing.assert_array_equal(whole[:20, :20], values[5:25, 10:30])
    assert (whole[20:] == [257, 514, 771]).all()
