import io
import os
import sys

import numpy as np
import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.images import WORKING_SIDE, open_image, pad_square, size_of, stretch_square, to_rgb


def _saved(image, path, **options):
    image.save(path, **options)
    return path


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (60, 40), "white")
    image.paste((255, 0, 0), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = open_image(_saved(image, tmp_path / "a.png", exif=exif))
    assert upright.size == (40, 60)
    assert upright.getpixel((35, 5)) == (255, 0, 0)


def test_transparency_is_laid_over_white(tmp_path):
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert open_image(_saved(image, tmp_path / "a.png")).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    image = Image.fromarray(np.full((4, 4), 32896, np.uint16))
    assert open_image(_saved(image, tmp_path / "a.png")).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floats_hold_shares_levels_or_16_bits(white, tmp_path):
    path = tmp_path / "a.tiff"
    Image.fromarray(np.array([[0.5 * white, white]], np.float32)).save(path)
    assert [open_image(path).getpixel((x, 0))[0] for x in (0, 1)] == [128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "RGBA", "I", "F"])
def test_every_mode_becomes_rgb(mode):
    assert to_rgb(Image.new(mode, (3, 3))).mode == "RGB"


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = _saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_bytes_are_opened_like_files():
    buffer = io.BytesIO()
    Image.new("RGB", (5, 7)).save(buffer, "PNG")
    assert open_image(buffer.getvalue()).size == (5, 7)


def test_large_pictures_are_reduced_and_the_aspect_kept(tmp_path):
    path = _saved(Image.new("RGB", (6000, 300)), tmp_path / "a.png")
    assert open_image(path).size == (WORKING_SIDE, round(300 * WORKING_SIDE / 6000))
    assert open_image(path, working_side=None).size == (6000, 300)


def test_a_picture_30000_pixels_wide_is_scaled_and_a_square_of_that_side_refused(tmp_path):
    assert open_image(_saved(Image.new("L", (30_000, 200)), tmp_path / "wide.png")).width == WORKING_SIDE
    path = _saved(Image.new("1", (30_000, 30_000)), tmp_path / "square.png")
    with pytest.raises(UserError, match="more than 64 million pixels"):
        open_image(path)


def _text(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    return tmp_path / "a.png"


def _truncated(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    path = _saved(Image.fromarray(noise), tmp_path / "whole.png")
    (tmp_path / "a.png").write_bytes(path.read_bytes()[:9000])
    return tmp_path / "a.png"


def _pipe(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize(
    "make",
    [
        _text,
        _truncated,
        _pipe,
        lambda folder: folder / "missing.png",
        lambda folder: folder / ("a" * 300),
        lambda folder: folder,
    ],
    ids=["text", "cut", "pipe", "missing", "long", "folder"],
)
def test_what_is_no_picture_is_one_sentence_with_its_name(tmp_path, make):
    path = make(tmp_path)
    with pytest.raises(UserError, match=path.name) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


def test_stretching_gives_up_the_aspect_and_padding_keeps_it():
    image = Image.new("RGB", (60, 20), (255, 0, 0))
    assert np.unique(np.asarray(stretch_square(image, 30)).reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]
    padded = pad_square(image, (1, 2, 3))
    assert padded.size == (60, 60)
    assert padded.getpixel((30, 5)) == (1, 2, 3) and padded.getpixel((30, 30)) == (255, 0, 0)


def test_exact_keeps_mode_depth_and_size_and_turns_upright(tmp_path):
    deep = Image.fromarray(np.arange(3000 * 4, dtype=np.uint16).reshape(4, 3000))
    opened = open_image(_saved(deep, tmp_path / "a.png"), exact=True)
    assert opened.mode == "I;16" and opened.tobytes() == deep.tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = open_image(_saved(Image.new("RGBA", (60, 40)), tmp_path / "b.png", exif=exif), exact=True)
    assert (turned.mode, turned.size) == ("RGBA", (40, 60))


def test_a_caller_bounds_formats_and_pixels():
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, "GIF")
    assert open_image(buffer.getvalue(), formats=["PNG", "GIF"], max_pixels=200).size == (20, 10)
    with pytest.raises(UserError, match="not a readable picture"):
        open_image(buffer.getvalue(), formats=["PNG"])
    with pytest.raises(UserError, match="0.000199 million"):
        open_image(buffer.getvalue(), max_pixels=199)


def _png(exif):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


# What Pillow answers with NotImplementedError, SyntaxError and struct.error.
STUMBLES = {
    "a texture of an unknown kind": b"DDS " + bytes([124]) + bytes(123),
    "metadata that are none": _png(b"garbage"),
    "metadata that break off": _png(b"Exif\0\0MM\0*"),
}


@pytest.mark.parametrize("content", STUMBLES.values(), ids=STUMBLES)
def test_whatever_a_decoder_stumbles_over_is_one_sentence(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    for source in (tmp_path / "a.png", content):
        with pytest.raises(UserError, match="is not a readable picture"):
            open_image(source)


def test_the_size_is_told_without_decoding(tmp_path):
    path = _saved(Image.new("RGB", (9, 5)), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:60])
    assert size_of(path) == size_of(path.read_bytes()) == (9, 5)
    for source in (b"", tmp_path / "none", tmp_path):
        with pytest.raises(UserError):
            size_of(source)


def test_a_picture_of_a_phone_is_read_where_its_package_is(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 32), "orange")).save(tmp_path / "phone.heic")
    for source in (tmp_path / "phone.heic", (tmp_path / "phone.heic").read_bytes()):
        opened = open_image(source, exact=True)
        assert opened.size == (64, 32) and opened.mode == "RGB" and opened.getpixel((5, 5))[0] > 200
    with pytest.raises(UserError, match="PNG, JPEG or WEBP"):
        open_image(tmp_path / "phone.heic", formats=["PNG"])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"pip install 'llmga\[heic\]'"):
        open_image(tmp_path / "phone.heic")
