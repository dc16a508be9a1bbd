"""Pictures that guide, through a session: which ones, how they are kept, and how they come back."""

import json

import pytest
from PIL import Image

from llmga.assistant.events import Failed, PictureReady
from llmga.assistant.record import picture_hash
from llmga.assistant.session import Turn
from llmga.assistant.session_file import load_pictures, load_session, save_session
from llmga.assistant.settings import Settings
from llmga.diffusers.control import Control
from llmga.errors import UserError

ONE = "Here. <gen_image> a red circle </gen_image>"
PHOTO = Image.linear_gradient("L").resize((16, 8)).convert("RGBA")
LINES = Image.new("RGB", (16, 8), "white")


def ready(assistant, turn):
    return next(event for event in assistant.stream(turn) if isinstance(event, PictureReady))


def test_a_control_follows_its_own_picture_else_the_one_that_came_else_the_latest(toy):
    assistant = toy(*[ONE] * 3, control="canny:0.6,depth:0-0.5", control_images=(None, LINES))
    first = ready(assistant, Turn("like this", (PHOTO,)))
    ready(assistant, Turn("again"))
    list(assistant.repaint(1))
    for call, followed in zip(assistant.pipeline.calls, (PHOTO, first.image, first.image), strict=True):
        assert call.controls == (Control("canny", 0.6, image=followed), Control("depth", end=0.5, image=LINES))
    record = assistant.exchanges[1].paintings[0].record
    assert record.control == "canny:0.6,depth:0-0.5"
    assert record.control_images == (picture_hash(first.image), picture_hash(LINES))


def test_without_a_control_the_pipeline_is_told_nothing_of_one(toy):
    assistant = toy(ONE, ONE)
    record = ready(assistant, Turn("one")).record
    assert not hasattr(assistant.pipeline.calls[0], "controls") and record.control is None
    assistant.settings = Settings(control="off")
    assert ready(assistant, Turn("two")).record.control == "off" and assistant.pipeline.calls[1].controls == ()


def test_in_a_region_the_control_is_about_what_is_repainted(toy):
    assistant = toy(ONE, control="tile")
    mask = Image.new("L", PHOTO.size)
    mask.paste(255, (0, 0, 8, 8))
    record = ready(assistant, Turn("fill it", (PHOTO,), mask)).record
    assert assistant.pipeline.calls[0].controls == (Control("tile"),) and record.control_images == (None,)


def test_a_control_without_any_picture_is_told(toy):
    (failed,) = [event for event in toy(ONE, control="canny").stream("a cat") if isinstance(event, Failed)]
    assert "control 'canny' has no picture to follow yet" in failed.message


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"control": "cany"}, "did you mean 'canny'"),
        ({"control": "canny:7"}, "use 0 to 2"),
        ({"control_images": (PHOTO,)}, "without a control"),
        ({"control": "canny", "control_images": (PHOTO, PHOTO)}, "more than the 1 controls"),
        ({"control": "canny", "control_images": (7,)}, "the control picture is of type int"),
    ],
)
def test_settings_that_cannot_be_are_told(toy, given, told):
    with pytest.raises(UserError, match=told):
        toy(**given)


@pytest.mark.parametrize("place", ["session", "session.zip"])
def test_a_session_keeps_its_controls_with_their_pictures(toy, tmp_path, place):
    assistant = toy(ONE, control="canny,depth", control_images=(PHOTO, None))
    ready(assistant, Turn("like this", (LINES,)))
    save_session(tmp_path / place, assistant)
    again = load_session(tmp_path / place).session
    assert again.settings == assistant.settings and again.settings.control_images[0].mode == "RGBA"
    names = [name for name in again.exchanges[0].paintings[0].record.control_images if name]
    assert load_pictures(tmp_path / place, names).keys() == {picture_hash(PHOTO), picture_hash(LINES)}


def test_a_session_of_before_there_were_controls_is_gone_on_with(toy, tmp_path):
    assistant = toy(ONE)
    ready(assistant, Turn("one"))
    save_session(tmp_path / "it", assistant)
    index = json.loads((tmp_path / "it/session.json").read_text())
    del index["settings"]["control"], index["settings"]["control_images"]
    (tmp_path / "it/session.json").write_text(json.dumps(index))
    assert load_session(tmp_path / "it").session.settings == assistant.settings
