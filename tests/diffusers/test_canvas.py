import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from llmga.diffusers.canvas import ANCHORS, FILLS, Canvas, stages
from llmga.errors import UserError

SIDE, ADDED = st.integers(1, 90), st.integers(0, 60)
PICTURE = st.tuples(SIDE, SIDE)
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]


def picture_of(mode, size):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        return Image.fromarray(values[..., 0].astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]) * 200)
    return Image.fromarray(values).convert(mode)


@settings(deadline=None)
@given(PICTURE, ADDED, ADDED, ADDED, ADDED, st.sampled_from(list(FILLS)), st.sampled_from(MODES))
def test_cropping_is_the_inverse_of_growing(size, left, top, right, bottom, fill, mode):
    if left + top + right + bottom == 0:
        return
    picture, canvas = picture_of(mode, size), Canvas(*size, left, top, right, bottom)
    grown, mask = canvas.grow(picture, fill)
    assert grown.size == mask.size == canvas.size == (left + size[0] + right, top + size[1] + bottom)
    back = canvas.shrink(grown)
    assert back.mode == {"1": "L", "P": "RGB"}.get(mode, mode)
    assert np.array_equal(np.asarray(back), np.asarray(picture.convert(back.mode)))
    marked = np.asarray(mask)
    assert (marked[top : top + size[1], left : left + size[0]] == 0).all()
    assert (marked == 255).sum() == canvas.size[0] * canvas.size[1] - size[0] * size[1]


@settings(deadline=None)
@given(PICTURE, ADDED, ADDED, st.sampled_from(list(ANCHORS)))
def test_a_target_size_is_reached_and_the_anchor_holds(size, wider, higher, anchor):
    if wider + higher == 0:
        return
    canvas = Canvas.to_size(size, (size[0] + wider, size[1] + higher), anchor)
    assert canvas.size == (size[0] + wider, size[1] + higher)
    assert (canvas.left == 0) or "left" not in anchor
    assert (canvas.right == 0) or "right" not in anchor
    assert (canvas.top == 0) or "top" not in anchor
    assert (canvas.bottom == 0) or "bottom" not in anchor
    if anchor == "center":
        assert abs(canvas.left - canvas.right) <= 1 and abs(canvas.top - canvas.bottom) <= 1


@settings(deadline=None)
@given(st.tuples(st.integers(20, 900), st.integers(20, 900)), st.floats(0.3, 3))
def test_an_aspect_is_reached_to_the_pixel_by_growing_one_axis(size, aspect):
    try:
        canvas = Canvas.to_aspect(size, aspect)
    except UserError:  # it has that aspect already
        assert round(size[1] * aspect) == size[0] or round(size[0] / aspect) == size[1]
        return
    width, height = canvas.size
    assert width == size[0] or height == size[1]
    assert abs(width - height * aspect) <= max(1, aspect)


@settings(deadline=None)
@given(PICTURE, st.integers(0, 300), st.integers(0, 300))
def test_percent_are_of_the_axis(size, across, up):
    extents = round(size[0] * across / 100), round(size[1] * up / 100)
    if sum(extents) == 0:
        return
    canvas = Canvas.parse(f"left={across}%, Top={up}%", size)
    assert (canvas.left, canvas.top, canvas.right, canvas.bottom) == (*extents, 0, 0)


@pytest.mark.parametrize(
    ("text", "extents"),
    [
        ("left=25%,right=25%", (25, 0, 25, 0)),
        ("top=10,bottom=3px", (0, 10, 0, 3)),
        ("all=10%", (10, 5, 10, 5)),
        ("all=8,left=1", (1, 8, 8, 8)),
        ("aspect=1:1", (0, 25, 0, 25)),
        ("aspect=4:1,anchor=right", (100, 0, 0, 0)),
        ("size=120x60,anchor=top-left", (0, 0, 20, 10)),
        ("left=12.5%", (12, 0, 0, 0)),
    ],
)
def test_what_a_person_types(text, extents):
    canvas = Canvas.parse(text, (100, 50))
    assert (canvas.left, canvas.top, canvas.right, canvas.bottom) == extents


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown or has no value"),
        ("left", "unknown or has no value"),
        ("leftt=3", "'leftt' is unknown"),
        ("left=3,left=4", "names a part twice"),
        ("left=-3", "left=-3 is no extent"),
        ("left=3.5", "left=3.5 is no extent"),
        ("left=nan%", "no extent"),
        ("left=0", "nothing is added"),
        ("left=3,aspect=1:1", "unclear"),
        ("anchor=left", "unclear"),
        ("aspect=0:1", "no aspect"),
        ("aspect=wide", "no aspect"),
        (f"aspect={'9' * 400}:1", "no aspect"),
        (f"aspect=1:{'9' * 400}", "no aspect"),
        (f"size={'9' * 400}x1", "no size"),
        (f"left={'9' * 400}%", "no extent"),
        ("size=10x10", "smaller than the picture"),
        ("size=200x100,anchor=middle", "unknown anchor 'middle'"),
        ("left=999999", "more than 64 million"),
        ("aspect=2:1", "nothing is added"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(text, message):
    with pytest.raises(UserError, match=message) as caught:
        Canvas.parse(text, (100, 50))
    assert "\n" not in str(caught.value)


def test_a_canvas_is_for_pictures_of_its_size_and_knows_its_fills():
    with pytest.raises(UserError, match="is for a picture of 4x4"):
        Canvas(4, 4, left=1).grow(Image.new("RGB", (5, 4)))
    with pytest.raises(UserError, match="unknown fill"):
        Canvas(4, 4, left=1).grow(Image.new("RGB", (4, 4)), "sky")
    with pytest.raises(UserError, match="left = -1"):
        Canvas(4, 4, left=-1, right=2)


def test_fills_are_what_their_names_say():
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(1, 4, 3))
    first, second = picture.getpixel((0, 0)), picture.getpixel((1, 0))
    grown = {fill: Canvas(4, 1, left=2).grow(picture, fill)[0] for fill in FILLS}
    left = {fill: [image.getpixel((x, 0)) for x in (1, 0)] for fill, image in grown.items()}
    assert left["edge"] == [first, first] and left["mirror"] == [first, second]
    assert left["grey"] == [(127,) * 3] * 2 and left["white"] == [(255,) * 3] * 2 and left["black"] == [(0,) * 3] * 2
    assert left["noise"][0] != left["noise"][1]
    again = Canvas(4, 1, left=2).grow(picture, "noise", seed=1)[0]
    assert again.tobytes() != grown["noise"].tobytes()


@settings(deadline=None)
@given(st.tuples(SIDE, SIDE), st.tuples(*[st.integers(0, 400)] * 4), st.floats(1.2, 6))
def test_stages_grow_from_the_picture_to_the_whole(size, added, growth):
    if not any(added):
        return
    canvas = Canvas(*size, *added)
    mask = Image.new("L", canvas.size, 255)
    mask.paste(0, canvas.box)
    inner, painted = canvas.box, np.asarray(mask) == 0
    for box, ring in stages(mask, growth):
        assert box[0] <= inner[0] and box[1] <= inner[1] and box[2] >= inner[2] and box[3] >= inner[3]
        for start, end in ((0, 2), (1, 3)):
            before, after = inner[end] - inner[start], box[end] - box[start]
            assert after <= max(before * growth, before + 1)
        part = painted[box[1] : box[3], box[0] : box[2]]
        assert np.array_equal(np.asarray(ring) == 255, ~part)
        painted[box[1] : box[3], box[0] : box[2]] = True
        inner = box
    assert painted.all()


def test_a_mask_that_is_no_border_is_one_stage():
    mask = Image.new("L", (400, 400), 255)
    mask.putpixel((3, 3), 0), mask.putpixel((300, 8), 0)
    assert stages(mask) == [((0, 0, 400, 400), mask)]
    with pytest.raises(UserError, match="growth 1"):
        stages(mask, 1)
