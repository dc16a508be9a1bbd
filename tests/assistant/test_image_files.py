"""Files of every kind carry the record, and only the record."""

import io

import numpy as np
import pytest
from PIL import Image

from llmga import deep
from llmga.assistant.image_files import EXIF_IFD, FORMATS, MAKER_NOTE, USER_COMMENT, encoded, kind_of, read
from llmga.assistant.record import ModelMark, Record, parameters
from llmga.errors import UserError
from llmga.images import open_image
from llmga.seams import Seam

RECORD = Record(
    prompt="a red circle, 画",
    request="a circle",
    seed=7,
    size=(8, 8),
    task="inpainting",
    parent="ab" * 32,
    mask="cd" * 32,
    changes={"strength": 0.5, "area": "mask"},
    restorer="match",
    seam_before=Seam(3.5, 1.25),
    seam_after=Seam(0.5, -0.25),
    words={"temperature": 0.2},
    painter={"family": "sdxl-inpainting"},
    models=(ModelMark("painter", "toy", "0123456789abcdef"), ModelMark("language", "words", "fedcba9876543210")),
)
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_the_record_comes_back_from_every_kind_and_mode(kind, mode, tmp_path):
    content = encoded(Image.new(mode, (8, 8)), RECORD, kind)
    (tmp_path / "a").write_bytes(content)
    assert read(tmp_path / "a") == RECORD and kind_of(tmp_path / "a") == kind
    assert encoded(Image.new(mode, (8, 8)), RECORD, kind) == content


@pytest.mark.parametrize("channels", [3, 4])
def test_a_png_of_16_bits_holds_them_beside_the_record(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 65_536, (9, 8, channels), dtype=np.uint16)
    picture = deep.of_levels(values)
    (tmp_path / "a.png").write_bytes(encoded(picture, RECORD))
    assert read(tmp_path / "a.png") == RECORD
    np.testing.assert_array_equal(deep.levels(open_image(tmp_path / "a.png", exact=True)), values)
    for kind in ("jpeg", "webp"):
        assert Image.open(io.BytesIO(encoded(picture, RECORD, kind))).size == (8, 9)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_other_tools_find_their_text_where_they_look(kind):
    """A1111 and its kin read EXIF's UserComment, an encoding of eight bytes before the text."""
    with Image.open(io.BytesIO(encoded(Image.new("RGB", (8, 8)), RECORD, kind))) as image:
        block = image.getexif().get_ifd(EXIF_IFD)
    assert block[USER_COMMENT][:8] == b"UNICODE\0"
    assert block[USER_COMMENT][8:].decode("utf-16-be") == parameters(RECORD)
    assert block[MAKER_NOTE] == b"llmga\0\0\0" + RECORD.to_json().encode()


def test_the_text_of_other_tools_names_turn_parent_mask_and_models():
    text = parameters(RECORD)
    for part in ("Denoising strength: 0.5", "Request: a circle", f"Parent: {'ab' * 32}", f"Mask: {'cd' * 32}"):
        assert part in text
    assert "Model hash: 0123456789" in text and "Language model hash: fedcba9876" in text and "Restorer: match" in text


@pytest.mark.parametrize("kind", FORMATS)
def test_a_stripped_file_keeps_pixels_and_profile_only(kind):
    picture = Image.new("RGB", (8, 8), (10, 200, 30))
    picture.info |= {"icc_profile": b"profile" * 20, "exif": b"secret" * 9, "comment": b"secret"}
    content = encoded(picture, RECORD, kind, strip=True)
    assert b"circle" not in content and b"llmga" not in content and b"secret" not in content
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["icc_profile"] == b"profile" * 20
        assert image.getpixel((0, 0)) == pytest.approx((10, 200, 30), abs=3)


def test_what_the_parent_told_of_itself_does_not_travel_on():
    picture = Image.new("RGB", (8, 8))
    picture.info |= {"exif": b"secret" * 9, "comment": b"secret", "xmp": b"secret", "parameters": "secret"}
    assert not any(b"secret" in encoded(picture, RECORD, kind) for kind in FORMATS)


@pytest.mark.parametrize(("kind", "lossy"), [("png", None), ("jpeg", 40), ("webp", 40)])
def test_the_quality_is_recorded_where_it_matters(kind, lossy, tmp_path):
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    (tmp_path / "a").write_bytes(encoded(noise, RECORD, kind, quality=40))
    assert read(tmp_path / "a").quality == lossy
    assert (len(encoded(noise, RECORD, kind, quality=40)) < len(encoded(noise, RECORD, kind))) == (lossy is not None)


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_out_of_range_is_told(quality):
    with pytest.raises(UserError, match="1 to 100"):
        encoded(Image.new("RGB", (8, 8)), RECORD, "jpeg", quality=quality)


def test_a_prompt_that_is_too_long_for_a_jpeg_is_kept_as_long_as_it_can_be(tmp_path):
    long = Record(prompt="word " * 8000, request="r", seed=1)
    (tmp_path / "a").write_bytes(encoded(Image.new("RGB", (8, 8)), long, "jpeg"))
    assert read(tmp_path / "a") == long
    longer = Record(prompt="word " * 20000, request="r", seed=1)
    with pytest.raises(UserError, match="save it as PNG or WEBP"):
        encoded(Image.new("RGB", (8, 8)), longer, "jpeg")
    for kind in ("png", "webp"):
        (tmp_path / "a").write_bytes(encoded(Image.new("RGB", (8, 8)), longer, kind))
        assert read(tmp_path / "a") == longer


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP"])
def test_what_has_no_record_is_one_sentence(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    for reader in (read, kind_of):
        with pytest.raises(UserError, match="a picture that llmga saved"):
            reader(tmp_path / "a")


DEEP = '{"prompt": "p", "request": "r", "seed": 1, "models": ' + "[" * 100_000 + "]" * 100_000 + "}"
DAMAGED = ["[]", "5", "{}", '{"prompt": 1}', "{", "null", "[" * 100_000, DEEP,
           r'{"prompt": "\ud800", "request": "r", "seed": 1}',
           '{"prompt": "p", "request": "r", "seed": NaN}', '{"prompt": "p", "request": "r", "seed": 1e999}',
           '{"prompt": "p", "request": "r", "seed": 1, "seed": 2}']  # fmt: skip


@pytest.mark.parametrize("block", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_record_is_one_sentence(block, tmp_path, monkeypatch):
    monkeypatch.setattr(Record, "to_json", lambda self: block)
    for kind in ("png", "webp"):
        (tmp_path / "a").write_bytes(encoded(Image.new("RGB", (8, 8)), RECORD, kind))
        with pytest.raises(UserError, match="no record"):
            read(tmp_path / "a")


def test_metadata_that_break_off_are_one_sentence(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", exif=b"Exif\0\0MM\0*")
    with pytest.raises(UserError, match="no record"):
        read(tmp_path / "a.webp")
