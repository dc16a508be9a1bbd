from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llmga.errors import UserError
from llmga.inputs import as_number, as_picture, as_seeds, as_size, as_text, as_whole, check_keywords


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.full((3, 5), 51, np.uint8), "L"),
        (np.full((3, 5), 0.2), "L"),
        (np.full((3, 5, 1), 51, np.uint8), "L"),
        (np.full((3, 5, 3), 51, np.uint8), "RGB"),
        (np.full((3, 5, 3), 0.2, np.float32), "RGB"),
        (np.full((3, 5, 4), 0.2, np.float16), "RGBA"),
        (np.full((6, 10, 3), 51, np.uint8)[::2, ::2], "RGB"),
    ],
)
def test_arrays_are_pictures(array, mode):
    picture = as_picture(array)
    assert picture.size == (5, 3) and picture.mode == mode
    assert set(np.asarray(picture).ravel()) == {51}


def test_an_array_of_booleans_is_a_mask():
    assert np.asarray(as_picture(np.array([[True, False]]))).tolist() == [[255, 0]]


def test_a_path_is_opened_with_every_pixel_and_its_mode(tmp_path):
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 9, 4), dtype=np.uint8))
    drawn.save(tmp_path / "one.png")
    for path in (tmp_path / "one.png", str(tmp_path / "one.png")):
        assert as_picture(path).mode == "RGBA" and as_picture(path).tobytes() == drawn.tobytes()
    assert as_picture(drawn) is drawn and as_picture(None) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 3, 5), np.uint8), r"shape \(2, 3, 5\)"),
        (np.zeros((0, 3), np.uint8), r"shape \(0, 3\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.full((2, 2), 7.0), "float64 from 7.0 to 7.0; give uint8, or floats from 0 to 1"),
        (np.full((2, 2), np.nan), "from nan"),
        (np.full((2, 2, 3), 300, np.uint16), "uint16"),
        ([Image.new("L", (2, 2))], "of type list; .*several are several calls"),
        (torch.zeros(3, 2, 2), "of type Tensor"),
        (b"", "of type bytes"),
        (Path("nowhere.png"), "nowhere.png"),
        ("", "empty"),
    ],
)
def test_what_is_no_picture_is_one_sentence(value, message):
    with pytest.raises(UserError, match=message):
        as_picture(value)


def test_numbers_of_every_library_are_numbers():
    for value in (7, np.int64(7), np.uint8(7), torch.tensor(7), np.array(7)):
        assert as_whole(value, "seed") == 7 and type(as_whole(value, "seed")) is int
    assert as_seeds(np.arange(3)) == as_seeds(range(3)) == as_seeds(torch.arange(3)) == [0, 1, 2]
    assert as_seeds([]) == [] and as_size(np.array([64, 32])) == as_size([64, 32]) == (64, 32)
    assert as_number(np.float32(0.5), "x") == as_number(torch.tensor(0.5), "x") == 0.5
    assert type(as_number(np.float32(0.5), "x")) is float and type(as_number(np.int32(3), "x")) is int


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: as_whole(2.0, "seed"), "seed 2.0 is no whole number"),
        (lambda: as_whole("2", "steps"), "steps '2' is no whole number"),
        (lambda: as_number("0.5", "strength"), "strength '0.5' is no number"),
        (lambda: as_number([1], "strength"), r"strength \[1\] is no number"),
        (lambda: as_number(1j, "strength"), "strength 1j is no number"),
        (lambda: as_seeds(5), "the seeds are 5"),
        (lambda: as_seeds("12"), "the seeds are '12'"),
        (lambda: as_size(64), "size 64 is no pair"),
        (lambda: as_size("64x64"), "size '64x64' is no pair"),
        (lambda: as_size((64, 64.5)), "size 64.5 is no whole number"),
        (lambda: as_text(None), "the prompt is of type NoneType, not text"),
        (lambda: as_text(["a", "b"]), "of type list, not text; give a str; several are several calls"),
    ],
)
def test_what_is_of_another_type_is_one_sentence(work, message):
    with pytest.raises(UserError, match=message):
        work()


def test_an_unknown_keyword_names_the_one_that_was_probably_meant():
    known = ["steps", "strength", "guidance_scale", "seed"]
    check_keywords("Painter", ["seed"], known)
    for given, meant in {"stregth": "strength", "num_inference_steps": "steps", "guidance": "guidance_scale"}.items():
        with pytest.raises(TypeError, match=rf"Painter\(\) takes no keyword '{given}', did you mean '{meant}'\?"):
            check_keywords("Painter", [given], known)
    with pytest.raises(TypeError, match="no keyword 'xyz'. Known are: guidance_scale, seed, steps, strength."):
        check_keywords("Painter", ["xyz"], known)
