"""What was marked is seen in the message that was sent."""

import numpy as np
import pytest
from PIL import Image

from llmga.assistant.library.pictures import PictureFolder
from llmga.assistant.session import Turn
from llmga.serve.page.marks import LEAST, MOST, STRIPES, marked
from llmga.serve.page.transcript import ServedImages


def half(size):
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


@pytest.mark.parametrize("colour", ["black", "white", "gray", STRIPES[0][1]])
def test_a_mark_is_seen_on_a_picture_of_any_colour(colour):
    picture = Image.new("RGB", (300, 200), colour)
    seen = np.asarray(marked(Turn("x", (picture,), half((300, 200))))).astype(int)
    assert seen.shape == (200, 300, 3)
    assert (seen[:, 152:] == np.asarray(picture)[:, 152:]).all()
    assert seen[:, :148].mean(-1).std() > 60  # dark and light beside each other, whatever was there
    assert (np.abs(seen - np.asarray(picture))[:, :148].max(-1) > 100).mean() > 0.25


def test_what_grew_is_hatched_around_the_picture():
    seen = marked(Turn("x", (Image.new("RGB", (256, 256), "red"),), outpaint="left=50%"))
    assert seen.size == (384, 256)
    pixels = np.asarray(seen)
    assert (pixels[:, 128:] == (255, 0, 0)).all() and len(np.unique(pixels[:, :128].reshape(-1, 3), axis=0)) >= 3


@pytest.mark.parametrize(("size", "longest"), [((16, 8), LEAST), ((400, 300), 400), ((3000, 100), MOST)])
def test_it_is_shown_at_a_size_at_which_stripes_are_seen(size, longest):
    assert max(marked(Turn("x", (Image.new("RGB", size),), half(size))).size) == longest


def test_where_nothing_was_marked_nothing_is_shown():
    picture = Image.new("RGB", (16, 8))
    assert marked(Turn("x")) is marked(Turn("x", (picture,))) is None
    assert marked(Turn("x", (picture,), outpaint="size=4x4")) is None  # of a session that came from elsewhere


def test_a_message_shows_its_mark_once_and_the_picture_stays_what_it_was(tmp_path):
    picture, images = Image.new("RGB", (16, 8), "teal"), ServedImages(PictureFolder(tmp_path))
    turn = Turn("x", (picture, Image.new("RGB", (8, 8))), half((16, 8)))
    first, second = images.attached(turn)
    assert first.marks and first.marks != first.url and not second.marks
    assert images.attached(turn)[0].marks == first.marks and len(list(tmp_path.glob("*.png"))) == 3
    assert images.image(0, "") is picture
