"""What one answer may cost, on every way in."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from llmga.assistant.bounds import Bounds, TooMuch
from llmga.assistant.events import Denoising, Failed, PictureReady
from llmga.assistant.painting import ImageRequest
from llmga.assistant.session import Settings, Turn
from llmga.llava.conversation import Conversation
from llmga.serve.api.options import build_parser as api_parser
from llmga.serve.gradio_web_server import build_parser as page_parser
from llmga.serve.parsed_args import bounds

ONE = "Here: <gen_image> a red circle </gen_image>"
SMALL = Bounds(message=100)


def painter(native=(64, 64), steps=20):
    """Says of itself what painters say."""
    return SimpleNamespace(native_size=native, describe=lambda **_: {"steps": steps})


@pytest.fixture
def bounded(toy):
    """`bounded(bounds, *replies, **settings)` is an assistant of somebody who came from outside."""

    def make(bounds, *replies, **settings):
        assistant = toy(*replies, **settings)
        assistant.bounds = bounds
        return assistant

    return make


def refusals(events):
    return [event.message for event in events if isinstance(event, Failed)]


@pytest.mark.parametrize(
    ("native", "size", "allowed"),
    [
        ((64, 64), (128, 128), True),
        ((64, 64), (136, 128), False),
        ((1024, 1024), (2048, 2048), True),
        ((512, 512), (1032, 1024), False),
        (None, (2048, 2048), True),
    ],
)
def test_a_picture_may_have_four_times_the_painters_native_pixels(native, size, allowed):
    chosen = Settings(size=size)
    if allowed:
        SMALL.check_settings(chosen, painter(native))
        return
    with pytest.raises(TooMuch, match=rf"{size[0]}x{size[1]} is .* at most .* smaller --size") as told:
        SMALL.check_settings(chosen, painter(native))
    assert told.value.setting == "size"


@pytest.mark.parametrize(
    ("chosen", "setting"),
    [
        (Settings(steps=151), "steps"),
        (Settings(steps=150, size=(128, 128), versions=2), "versions"),
        (Settings(versions=10**9), "versions"),
        (Settings(negative_prompt="x" * 8_001), "negative_prompt"),
        (Settings(max_new_tokens=8193), "max_new_tokens"),
    ],
)
def test_what_is_too_much_names_the_setting(chosen, setting):
    with pytest.raises(TooMuch) as told:
        SMALL.check_settings(chosen, painter())
    assert told.value.setting == setting


def test_steps_that_nobody_asked_for_are_the_hosts_choice():
    SMALL.check_settings(Settings(), painter(steps=1000))
    assert SMALL.check_order(ImageRequest("a dog", 1), 1, painter(steps=1000), 0) == 150 * 64 * 64


def test_one_picture_at_both_limits_and_ten_usual_ones_are_not():
    SMALL.check_settings(Settings(steps=150, size=(128, 128)), painter())
    SMALL.check_settings(Settings(steps=50, versions=10), painter())


def test_a_refused_message_leaves_no_trace(bounded):
    assistant = bounded(SMALL, "hello", "hello")
    (message,) = refusals(assistant.stream(Turn("x" * 101)))
    assert "101 characters, 100 are read at most; shorten it." in message
    assistant.settings = Settings(steps=1000)
    assert "1000 steps are too many" in refusals(assistant.stream(Turn("go")))[0]
    assert assistant.exchanges == () and assistant.session.conversation.messages == ()


def test_the_prompts_of_one_answer_are_counted_together(bounded):
    work = 2 * 3 * 1024 * 1024  # two pictures of the toy painter: three steps each, of a size that it does not tell
    reply = " ".join(["<gen_image> a dog </gen_image>"] * 4)
    assistant = bounded(replace(SMALL, work=work), reply, ONE)
    events = list(assistant.stream(Turn("go")))
    assert len([event for event in events if isinstance(event, PictureReady)]) == 2 and len(refusals(events)) == 2
    assert not refusals(assistant.stream(Turn("go")))  # and the next answer begins anew


def test_painting_again_in_other_words_meets_the_same_bounds(bounded):
    assistant = bounded(replace(SMALL, prompt=20), ONE)
    assert not refusals(assistant.stream(Turn("go")))
    for again in (assistant.repaint(prompt="x" * 21), assistant.paint(0, 0, "x" * 21)):
        events = list(again)
        assert "21 characters, 20 are painted at most" in refusals(events)[0]
        assert not [event for event in events if isinstance(event, Denoising)]
    assistant.settings = Settings(steps=1000)
    assert "1000 steps" in refusals(assistant.repaint())[0]


def test_what_a_changed_picture_was_said_to_show_is_bounded_too():
    region = SimpleNamespace(changes={"source_prompt": "x" * 8_001}, picture=Image.new("RGB", (8, 8)))
    with pytest.raises(TooMuch, match="source prompt has 8,001"):
        SMALL.check_order(ImageRequest("a dog", 1, region), 1, painter(), 0)


def test_a_large_picture_is_not_enlarged_without_end(bounded):
    assistant = bounded(SMALL, ONE, upscale=4)
    assistant.upscaler = SimpleNamespace(scale=4)
    photo, mask = Image.new("RGB", (2400, 1800)), Image.new("L", (2400, 1800))
    mask.paste(255, (0, 0, 9, 9))
    assert "2400x1800 enlarged 4 times" in refusals(assistant.stream(Turn("go", (photo,), mask)))[0]


def test_a_conversation_from_elsewhere_is_bounded_as_a_whole():
    conversation = Conversation().say("user", "x" * 100).say("assistant", "y" * 3000)
    SMALL.check_conversation(conversation)
    with pytest.raises(TooMuch, match="3,200 characters"):
        SMALL.check_conversation(conversation.say("user", "x" * 101))


def test_the_owner_of_the_machine_meets_none(toy):
    assistant = toy(ONE, steps=1000, max_new_tokens=10**6)
    assert not refusals(assistant.stream(Turn("x" * 10**6)))


@pytest.mark.parametrize("parser", [page_parser, api_parser])
def test_page_and_api_have_the_same_flags(parser):
    argv = ["--max-pixels-painted", "4096", "--max-steps", "9", "--max-pixel-steps", "7", "--max-prompt", "5",
            "--max-message", "3"]  # fmt: skip
    assert bounds(parser().parse_args(argv)).reading(100) == Bounds(4096, 9, 7, 5, 3)
    assert bounds(parser().parse_args([])).reading(100) == SMALL
