"""What the browser reports of the canvas."""

import base64
import io
import json

import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.serve.page.mask_editor import LARGEST_REPORT, EditorValue, opened, relabelled


def png(size=(8, 4), colour=255):
    buffer = io.BytesIO()
    image = Image.new("L", size)
    image.paste(colour, (0, 0, size[0] // 2, size[1]))
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def report(**told):
    return json.dumps({"picture": 2, "mask": "", "left": 0, "top": 0, "right": 0, "bottom": 0} | told)


@pytest.mark.parametrize("empty", ["", "{}", json.dumps({"words": {"brush": "Brush"}, "picture": None, "url": ""})])
def test_an_empty_canvas_marks_nothing(empty):
    assert EditorValue.read(empty) == EditorValue()


def test_a_mask_comes_to_the_size_of_its_picture():
    mask = EditorValue.read(report(mask=png())).mask((16, 8))
    assert mask.mode == "L" and mask.size == (16, 8)
    assert mask.getpixel((0, 0)) == 255 and mask.getpixel((15, 7)) == 0


def test_what_grows_takes_the_place_of_a_mask():
    marks = EditorValue.read(report(mask=png(), left=12.4, bottom=50, top=0.2))
    assert marks == EditorValue(2, None, "left=12.4%,bottom=50%")


def test_a_feathered_edge_is_a_slope_as_wide_as_it_was_asked_for():
    hard, soft = (EditorValue.read(report(mask=png(), feather=wide)).mask((200, 100)) for wide in (0, 10))
    grays = [sum(0 < level < 255 for level in mask.crop((0, 50, 200, 51)).tobytes()) for mask in (hard, soft)]
    assert grays[0] <= 50 and 60 <= grays[1] <= 100  # the drawing had eight pixels, so its edge has some width itself
    assert soft.getpixel((0, 50)) == 255 and soft.getpixel((199, 50)) == 0
    assert abs(soft.getpixel((100, 50)) - 127) < 20  # it lies where the edge was


def test_what_grows_is_not_feathered():
    assert EditorValue.read(report(left=20, feather=5)) == EditorValue(2, None, "left=20%")


def test_another_language_leaves_what_was_drawn():
    assert json.loads(relabelled("zh"))["keep"] and "keep" not in json.loads(opened("zh"))
    assert EditorValue.read(relabelled("zh")) == EditorValue()


@pytest.mark.parametrize(
    "bad",
    [
        "no json",
        "[1]",
        report(picture="x"),
        report(left="wide"),
        report(left=float("inf")),
        report(mask="data:image/png;base64,!!!"),
        report(mask=[1]),
        report(mask="data:image/png;base64," + base64.b64encode(b"no picture").decode()),
        report(left=-1),
        report(feather=90),
        "[" * 200_000,
        '"' + "x" * (LARGEST_REPORT + 5) + '"',
    ],
    ids=range(12),
)
def test_what_the_page_never_sends_is_refused_in_a_sentence(bad):
    with pytest.raises(UserError, match="wipe the canvas"):
        EditorValue.read(bad)
