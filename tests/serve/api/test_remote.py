"""Models of a running server, used as if they were loaded here."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.session import Settings, Turn
from llmga.assistant.shared_pipeline import FairLock, SharedPipeline
from llmga.diffusers.families import EDITING, INPAINTING
from llmga.errors import UserError
from llmga.serve import parsed_args
from llmga.serve.gradio_web_server import build_parser, page_options, server_of
from llmga.serve.page.serving import build
from llmga.serve.remote import load_remote_models

KEY = "sk-of-the-tests"


@pytest.fixture
def far(running):
    """`far(*flags)` is an assistant of the page on a server's models; the server is `far.server`."""

    def start(*argv, settings=None, keys=()):
        start.server = running(keys=keys)
        given = ["--mllm-key", keys[0]] if keys else []
        args = build_parser().parse_args(["--server", f"{start.server.url}/v1", *given, *argv])
        start.models = models = load_remote_models(server_of(args))
        brush = SharedPipeline.of(models.pipeline, FairLock())
        return Assistant(models.new_chat(), brush, models.restorer, settings or Settings(seed=5), models.marks)

    return start


def last(events, kind):
    return [event for event in events if isinstance(event, kind)][-1]


def test_an_answer_is_what_the_server_would_have_given(far):
    here = far(settings=Settings(seed=5, size=(24, 16), steps=7, guidance_scale=2.0, negative_prompt="cows"))
    events = list(here.stream(Turn("paint it red")))
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Gladly.  There. "
    assert last(events, PromptFound).prompt == "paint it red"
    assert last(events, Denoising).step == last(events, Denoising).total == 4
    ready = last(events, PictureReady)
    assert ready.image.size == (24, 16) and ready.image.getpixel((0, 0)) == (250, 0, 0)
    (call,) = far.server.painter.calls
    assert (call["prompt"], call["seed"], call["steps"], call["guidance_scale"]) == ("paint it red", 5, 7, 2.0)
    assert call["negative_prompt"] == "cows"
    assert (ready.record.steps, ready.record.guidance_scale, ready.record.seed) == (7, 2.0, 5)
    assert ready.record.model("painter").name == f"plain at {far.server.url}/v1"


def test_the_server_is_told_the_whole_conversation_with_its_prompts_in_their_tags(far):
    here = far()
    list(here.stream(Turn("paint it red")))
    (words,) = [event for event in here.stream(Turn("tell the history")) if isinstance(event, TextDelta)][:1]
    told = words.text + "".join(message.text for message in here.session.conversation.messages[-1:])
    assert "{gen_image} paint it red {/gen_image}" in told


def test_a_picture_is_seen(far):
    events = list(far().stream(Turn("what is it?", (Image.new("RGB", (20, 12), (10, 20, 30)),))))
    assert "".join(event.text for event in events) == "10 20 30 "


def test_a_marked_part_is_painted_and_the_rest_kept(far):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 4), dtype=np.uint8), "RGBA")
    mask = Image.new("L", photo.size)
    mask.paste(255, (0, 0, 6, 12))
    here = far(settings=Settings(seed=5, picture="always"))
    events = list(here.stream(Turn("paint it green", (photo,), mask)))
    after = last(events, PictureReady).image
    kept = np.asarray(mask) == 0
    assert after.mode == "RGBA" and (np.asarray(after)[kept] == np.asarray(photo)[kept]).all()
    assert after.getpixel((0, 0))[:3] == (0, 250, 0)


def test_pictures_guide_a_painter_of_a_server(far):
    lines, photo = Image.new("RGB", (20, 12), (1, 2, 3)), Image.new("RGB", (20, 12), (7, 8, 9))
    here = far(settings=Settings(seed=5, picture="always", control="canny:0.6,tile", control_images=(lines, None)))
    record = last(list(here.stream(Turn("red", (photo,)))), PictureReady).record
    mask = Image.new("L", photo.size)
    mask.paste(255, (0, 0, 6, 12))
    list(here.stream(Turn("green", (photo,), mask)))
    for call in far.server.painter.calls:
        assert [str(control) for control in call["controls"]] == ["canny:0.6", "tile"]
        assert [control.image for control in call["controls"]] == [lines, photo]
    assert record.control == "canny:0.6,tile"


def test_previews_are_shown_where_they_are_wanted(far):
    here = far(settings=Settings(seed=5, previews=True))
    seen = [event.preview for event in here.stream(Turn("paint it red")) if isinstance(event, Denoising)]
    assert any(preview is not None for preview in seen)


def test_a_picture_can_be_had_in_every_answer(far):
    events = list(far(settings=Settings(picture="always")).stream(Turn("a blue sea")))
    assert last(events, PictureReady).image.getpixel((0, 0)) == (0, 0, 250)


def test_a_prompt_that_waits_is_painted_in_other_words(far):
    here = far(settings=Settings(seed=5, paint=False))
    assert not [event for event in here.stream(Turn("paint it red")) if isinstance(event, PictureReady)]
    assert not far.server.painter.calls
    here.settings = Settings(seed=5)
    assert last(list(here.paint(0, 0, "green")), PictureReady).record.prompt == "green"


@pytest.mark.parametrize("busy", [False, True])
def test_a_painting_that_is_stopped_ends_on_the_server_whether_it_has_begun_or_not(far, busy):
    here = far()
    server = far.server
    server.painter.pace = 0.2
    others = [threading.Thread(target=server.chat, args=("paint it red",), daemon=True) for _ in range(4 * busy)]
    for other in others:
        other.start()
    server.wait(lambda: server.figure("llmga_running") == len(others))
    began, events = time.monotonic(), []
    for event in here.stream(Turn("paint it red")):
        events.append(event)
        if isinstance(event, Denoising) and (busy or event.step):
            here.cancel()
    assert isinstance(events[-1], Stopped) and time.monotonic() - began < 60
    for other in others:
        other.join()
    server.wait(lambda: server.figure("llmga_running") == 0)
    assert len(server.painter.calls) == len(others) + (not busy)


def test_what_the_server_refuses_is_told(far):
    told = last(list(far().stream(Turn("paint something forbidden"))), Failed).message
    assert "does not paint this forbidden prompt" in told and "/secret" not in told
    told = last(list(far().stream(Turn("paint something broken"))), Failed).message
    assert "the server made a mistake" in told and "secret" not in told


def test_a_busy_server_is_asked_again(far, monkeypatch):
    here = far()
    full, asked = far.server.service.scheduler.queue.full(), []
    enter = far.server.service.scheduler.queue.acquire

    async def sometimes(client):
        asked.append(client)
        if len(asked) in (1, 3):
            full.headers["Retry-After"] = "0"
            raise full
        return await enter(client)

    monkeypatch.setattr(far.server.service.scheduler.queue, "acquire", sometimes)
    assert last(list(here.stream(Turn("paint it red"))), PictureReady)
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (lambda painter: painter.use_sampler("euler"), "'euler'"),
        (lambda painter: painter.for_task(EDITING), "mark the part"),
        (lambda painter: painter("x", strength=0.5, on_step=print), "server's choice"),
    ],
)
def test_what_only_the_server_can_choose_is_said(far, what, told):
    far()
    painter = far.models.pipeline
    assert painter.for_task(INPAINTING) is painter
    with pytest.raises(UserError, match=told):
        what(painter)


def test_a_server_that_asks_for_a_key_gets_it(far):
    assert list(far(keys=(KEY,)).stream(Turn("hello")))
    with pytest.raises(UserError, match="asks for a key"):
        load_remote_models(server_of(build_parser().parse_args(["--server", f"{far.server.url}/v1"])))


def test_what_is_no_server_of_ours_is_refused(running):
    url = running().url
    with pytest.raises(UserError, match="no server of this project"):
        load_remote_models(server_of(build_parser().parse_args(["--server", f"{url}/elsewhere"])))
    with pytest.raises(UserError, match="cannot be reached"):
        load_remote_models(server_of(build_parser().parse_args(["--server", "http://127.0.0.1:9/v1"])))
    with pytest.raises(UserError, match="leave out --load-4bit"):
        load_remote_models(server_of(build_parser().parse_args(["--server", url, "--load-4bit"])))


def test_the_page_offers_the_server_s_models_alone(far, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    far()
    args = build_parser().parse_args(
        ["--server", f"{far.server.url}/v1", "--model-list-mode", "reload", "--no-library"]
    )
    blocks = build(far.models, page_options(args)).page.blocks
    choices = [block.choices for block in blocks.blocks.values() if type(block).__name__ == "Dropdown"]
    ours = [[f"{name} at {far.server.url}/v1"] for name in ("echo", "plain")]
    assert [[name for name, _ in offered] for offered in choices if far.server.url in str(offered)] == ours
    assert parsed_args.settings(args).steps is None
