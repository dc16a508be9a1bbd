"""A picture says how it was made."""

import json

import pytest
from PIL import Image

from llmga.assistant.image_files import png_bytes, read
from llmga.assistant.record import ModelMark, Record, fingerprint, parameters
from llmga.errors import UserError

RECORD = Record(
    prompt="a big red circle, centred\non blue",
    request="画一个红色的圆, please",
    seed=7,
    negative_prompt="blur",
    steps=20,
    guidance_scale=3.5,
    sampler="Euler",
    size=(64, 48),
    models=(ModelMark("language", "mllm", None), ModelMark("painter", "sdxl, toy", "0123456789abcdef")),
    llmga="9.9",
)
PICTURE = Image.new("RGB", (64, 48), (1, 2, 3))


def test_the_record_comes_back_from_the_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(PICTURE, RECORD))
    assert read(path) == RECORD
    with Image.open(path) as image:
        assert image.convert("RGB").tobytes() == PICTURE.tobytes()


def test_other_tools_find_their_text():
    assert parameters(RECORD) == (
        "a big red circle, centred\non blue\n"
        "Negative prompt: blur\n"
        "Steps: 20, Sampler: Euler, CFG scale: 3.5, Seed: 7, Size: 64x48, "
        'Model hash: 0123456789, Model: "sdxl, toy", Request: "画一个红色的圆, please", Language model: mllm, '
        "Version: llmga 9.9"
    )


def test_the_text_of_other_tools_is_in_the_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(PICTURE, RECORD))
    with Image.open(path) as image:
        assert image.text["parameters"] == parameters(RECORD)


def test_what_is_not_known_is_left_out():
    plain = parameters(Record(prompt="p", request="r", seed=1, llmga="9.9"))
    assert plain == "p\nSeed: 1, Request: r, Version: llmga 9.9"


def test_the_same_record_gives_the_same_bytes():
    assert png_bytes(PICTURE, RECORD) == png_bytes(PICTURE, RECORD)


def test_a_file_without_a_record_is_refused(tmp_path):
    plain, text = tmp_path / "plain.png", tmp_path / "text.png"
    PICTURE.save(plain)
    text.write_text("not a picture")
    for path in (plain, text):
        with pytest.raises(UserError, match="no record of llmga"):
            read(path)
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "missing.png")


def test_a_fingerprint_is_that_of_the_weights(tmp_path):
    def folder(name, weights, card):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "unet" / "model.safetensors").write_bytes(weights)
        (tmp_path / name / "README.md").write_text(card)
        return fingerprint(tmp_path / name)

    assert folder("a", b"1", "x") == folder("b", b"1", "y")
    assert folder("c", b"2", "x") != fingerprint(tmp_path / "a")
    assert fingerprint(tmp_path / "nothing") is None


def test_a_mark_holds_the_name_and_not_the_way_to_it(tmp_path):
    (tmp_path / "model").mkdir()
    assert ModelMark.of("painter", tmp_path / "model") == ModelMark("painter", "model", None)
    assert ModelMark.of("painter", "somebody/model").name == "somebody/model"


@pytest.mark.parametrize("mode", ["CMYK", "F", "HSV", "I;16", "LA", "RGBA"])
def test_pictures_of_every_mode_are_saved(mode, tmp_path):
    (tmp_path / "a.png").write_bytes(png_bytes(Image.new(mode, (8, 8)), RECORD))
    assert read(tmp_path / "a.png") == RECORD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", "many"),
        ("size", [64]),
        ("changes", {"strength": "much"}),
        ("changes", {"soft": 1.5}),
        ("painter", {"device": ["cpu"]}),
        ("painter", {"added": [{"kind": "lora"}]}),
        ("seam_before", {"colour": "red", "gradient": 0}),
        ("models", [{"role": "painter", "name": None, "sha256": None}]),
    ],
)
def test_a_record_with_a_value_of_a_wrong_type_is_none(name, value):
    told = json.loads(Record("a circle", "a circle", 7).to_json())
    with pytest.raises(TypeError):
        Record.from_json(json.dumps(told | {name: value}))


def test_what_a_later_version_tells_of_a_painter_is_left_aside():
    told = {"prompt": "a", "request": "a", "seed": 7, "changes": {"strength": 0.5, "on_step": 1}, "painter": {"new": 1}}
    record = Record.from_json(json.dumps(told))
    assert (record.changes, record.painter) == ({"strength": 0.5}, {})
