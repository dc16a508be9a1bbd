"""The handlers, called as gradio calls them."""

from dataclasses import replace
from threading import Semaphore
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from llmga.assistant.loading import Models
from llmga.assistant.record import ModelMark
from llmga.diffrir.restorers import RESTORERS
from llmga.serve.gradio_web_server import build_parser, page_options
from llmga.serve.page.handlers import EventHandlers
from llmga.serve.page.layout import PageLayout
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.user_session import UserSession
from tests.toys import ToyChat


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A page with models that are not opened."""
    folder = tmp_path_factory.mktemp("gradio")
    own = {"sampler_name": "checkpoint", "steps": 3, "guidance_scale": 2.5}
    generator = SimpleNamespace(describe=lambda: own)
    marks = (ModelMark("language", "words", None), ModelMark("painter", "paint", None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        options = replace(page_options(build_parser().parse_args(["--no-library"])), model_directory=folder)
        pool = ModelPool(options, Models(None, generator, RESTORERS["match"], marks))
        return EventHandlers(PageLayout(pool, options), pool, 2)


@pytest.fixture
def handlers(built, monkeypatch):
    """`handlers(moderator)` are the page's."""

    def make(moderator=None):
        monkeypatch.setattr(built, "moderator", moderator)
        return built

    return make


def usual(handlers):
    return [component.value for component in handlers.page.controls.components]


def message(text):
    return {"text": text, "files": []}


def unanswered(handlers, updates):
    """Whether nothing on the page changes; of no updates at all gradio makes nulls."""
    return updates == {handlers.page.message: gr.skip()}


def press(handlers, here, **told):
    """A button in the conversation is pressed; what is drawn until all is done."""
    data = SimpleNamespace(_data=told or None)
    return followed(handlers, here, handlers.act(here, message(""), "", data, *usual(handlers)))


def followed(handlers, session, begun):
    """What is drawn of an answer: as it begins, and then until its end."""
    return [begun, *handlers.watch(session)]


@pytest.fixture
def token(monkeypatch):
    """`token()` lets the language model say five letters more."""
    allowed, answer = Semaphore(0), ToyChat._answer

    def held_back(*given):
        for piece in answer(*given):
            assert allowed.acquire(timeout=60)
            yield piece

    monkeypatch.setattr(ToyChat, "_answer", held_back)
    return allowed.release


def test_every_token_is_drawn_when_it_comes(handlers, session, token):
    page, here = handlers(), session("abcdefghijklmnopqrstuvwxyz")
    page.say(here, message("hello"), "", *usual(page))
    watching = page.watch(here)
    for end in (5, 10, 15, 20, 25, 26):
        token()
        said = "abcdefghijklmnopqrstuvwxyz"[:end]
        assert next(step for step in watching if f">{said}<" in str(step[page.page.log]))
    list(watching)


def test_who_comes_late_sees_the_answer_from_where_it_is(handlers, session, token):
    page, here = handlers(), session("Good morning to you.")
    page.say(here, message("hello"), "", *usual(page))
    token(), token()
    there = UserSession(here.conversation, "zh")  # another tab
    assert next(step for step in page.watch(there) if "Good morni" in str(step[page.page.log]))
    page.refresh(third := UserSession(here.conversation))
    for _ in range(2):
        token()
    *_, last = page.watch(here)
    assert last[page.page.log] == page.refresh(third)[page.page.log] and "to you" in str(last[page.page.log])
    assert page.refresh(third) == {page.page.log: gr.skip()}


def test_a_tab_follows_an_answer_once(handlers, session, token):
    page, here = handlers(), session("Good morning.")
    page.say(here, message("hello"), "", *usual(page))
    watching = page.watch(here)
    next(watching)
    assert [unanswered(page, step) for step in page.watch(here)] == [True]
    for _ in range(3):
        token()
    list(watching)
    assert not here.watched


def test_the_message_box_is_emptied_when_the_answer_begins_and_can_send_again_at_its_end(handlers, session):
    page, here = handlers(), session("Hello.")
    begun = page.say(here, message("hello"), "", *usual(page))
    first, *between, last = [step.get(page.page.message) for step in followed(page, here, begun)]
    assert first["value"] == message("") and first["stop_btn"] and not first["submit_btn"]
    assert between == [None] * len(between) and last["submit_btn"] and not last["stop_btn"]


@pytest.fixture
def warned(monkeypatch):
    told = []
    monkeypatch.setattr("gradio.Warning", told.append)
    return told


def test_what_cannot_be_sent_stays_in_the_box_and_is_explained(handlers, session, warned):
    page, here = handlers(), session()
    assert unanswered(page, page.say(here, message("  "), "", *usual(page)))
    assert unanswered(page, page.say(here, message("hi"), "no json", *usual(page)))
    assert [text.split(";")[0] for text in warned] == [
        "There is nothing to answer yet",
        "what was drawn cannot be read",
    ]


def test_a_file_that_is_no_picture_is_refused_without_saying_where_it_lies(handlers, session, warned, tmp_path):
    page, here = handlers(), session("Hello.")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    sent = {"text": "look", "files": [str(tmp_path / "bad.png")]}
    assert unanswered(page, page.say(here, sent, "", *usual(page)))
    assert "uploaded picture is not a readable picture" in warned[0] and str(tmp_path) not in warned[0]


def test_a_picture_that_only_another_program_could_open_is_refused(handlers, session, warned, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "in.eps")
    page, here = handlers(), session("Hello.")
    assert unanswered(page, page.say(here, {"text": "look", "files": [str(tmp_path / "in.eps")]}, "", *usual(page)))
    assert "PNG, JPEG or WEBP" in warned[0]


def test_an_uploaded_picture_of_any_kind_goes_with_the_message(handlers, session, tmp_path):
    page, here = handlers(), session("Red.")
    Image.new("CMYK", (30, 20), (0, 255, 255, 0)).save(tmp_path / "in.jpg")
    followed(page, here, page.say(here, {"text": "look", "files": [str(tmp_path / "in.jpg")]}, "", *usual(page)))
    (entry,) = here.entries()
    assert [shown.size for shown in entry.attached] == [(30, 20)]
    (file,) = here.folder.glob("*.png")
    assert Image.open(file).convert("RGB").getpixel((5, 5))[0] > 200


@pytest.mark.parametrize(("name", "bad"), [("size", "7x7"), ("size", "wide"), ("seed", "-1"), ("seed", "x")])
def test_a_setting_that_cannot_be_is_one_sentence(handlers, session, warned, name, bad):
    page, here = handlers(), session("Hello.")
    values = dict(zip(page.page.controls.named, usual(page), strict=True)) | {name: bad}
    assert unanswered(page, page.say(here, message("hi"), "", *values.values()))
    assert repr(bad) in warned[0] or "range" in warned[0]


def test_settings_reach_the_painter(handlers, session):
    page, here = handlers(), session("<gen_image> a fox </gen_image>")
    said = {"size": "24x16", "seed": "77", "negative_prompt": "cats", "steps": 3, "guidance_scale": 4.5}
    values = dict(zip(page.page.controls.named, usual(page), strict=True)) | said
    followed(page, here, page.say(here, message("hi"), "", *values.values()))
    call = here.assistant.pipeline.pipeline.calls[0]
    assert (call.size, call.seed, call.negative_prompt, call.steps, call.guidance_scale) == (
        (24, 16),
        77,
        "cats",
        3,
        4.5,
    )


def test_a_defect_is_told_by_a_number_and_nothing_else(handlers, session, warned, caplog):
    page, here = handlers(), session("<gen_image> broken </gen_image>")
    followed(page, here, page.say(here, message("hi"), "", *usual(page)))
    (told,) = warned
    assert "a defect" not in told and "a defect" in caplog.text
    assert told.partition("report ")[2][:8] in caplog.text


def test_a_session_that_is_over_says_so(handlers, warned):
    page = handlers()
    assert unanswered(page, page.say(None, message("hi"), "", *usual(page)))
    assert "reload the page" in warned[0]


@pytest.mark.parametrize("told", [None, {}, {"verb": "look", "number": 9}, {"verb": "mark", "number": "x"},
                                  {"verb": "paint", "address": "../..", "text": "x"}])  # fmt: skip
def test_an_event_that_the_page_never_sends_does_no_harm(handlers, session, warned, told):
    page, here = handlers(), session("Hello.")
    press(page, here, **(told or {}))
    assert warned and here.entries() == []


def test_a_flagged_message_is_not_answered(handlers, session, warned):
    page, here = handlers(lambda text: "evil" in text), session("Hello.")
    assert unanswered(page, page.say(here, message("something evil"), "", *usual(page)))
    assert "moderation" in warned[0] and here.entries() == []
    followed(page, here, page.say(here, message("something good"), "", *usual(page)))
    assert [entry.reply for entry in here.entries()] == ["Hello."]


def test_what_was_taken_back_can_be_said_otherwise(handlers, session):
    page, here = handlers(), session("Hello.")
    followed(page, here, page.say(here, message("hi there"), "", *usual(page)))
    assert page.undo(here, message("")).get(page.page.message) == {"text": "hi there", "files": []}


def test_an_undo_leaves_what_was_begun_in_the_message_box(handlers, session):
    page, here = handlers(), session("Hello.")
    followed(page, here, page.say(here, message("hi there"), "", *usual(page)))
    assert page.undo(here, message("a new thought"))[page.page.message] == gr.skip() and here.entries() == []


def test_a_message_is_answered_anew_in_other_words_and_the_old_answer_kept(handlers, session):
    page, here = handlers(), session("Red.", "Blue.", "Green.")
    for text in ("one", "two"):
        followed(page, here, page.say(here, message(text), "", *usual(page)))
    steps = press(page, here, verb="edit", number=0, text="another")
    assert [(entry.asked, entry.reply) for entry in here.entries()] == [("another", "Green.")]
    assert "bring back" in str(steps[-1][page.page.log])
    press(page, here, verb="bring back")
    assert [entry.reply for entry in here.entries()] == ["Red.", "Blue."]
    press(page, here, verb="bring back")  # there and back, as often as one likes
    assert [entry.reply for entry in here.entries()] == ["Green."]


def test_an_undo_of_nothing_says_so(handlers, session, warned):
    page, here = handlers(), session()
    press(page, here, verb="undo")
    press(page, here, verb="bring back")
    assert warned == ["There is nothing to take back."] * 2


def test_a_conversation_that_was_left_can_be_brought_back(handlers, session, monkeypatch):
    page, here, there = handlers(), session("Hello."), session()
    followed(page, here, page.say(here, message("hi there"), "", *usual(page)))
    monkeypatch.setattr(page.pool, "assistant", lambda *names: there.assistant)
    left = page.clear(here, "words", "paint")
    assert here.entries() == [] and "bring back" in str(left[page.page.log])
    press(page, here, verb="bring back")
    assert [entry.asked for entry in here.entries()] == ["hi there"]


def test_a_picture_of_a_card_is_what_the_next_message_is_about(handlers, session, tmp_path):
    page, here = handlers(), session("<gen_image> more </gen_image>")
    Image.new("RGB", (16, 8), "teal").save(tmp_path / "in.png")
    opened = page.bring("larger", here, str(tmp_path / "in.png"))
    assert here.subject().kind == "mark" and here.images.url(0) in str(opened[page.page.mask_editor])
    followed(page, here, page.say(here, message("go on"), '{"picture": 0, "right": 50}', *usual(page)))
    (entry,) = here.entries()
    assert [shown.number for shown in entry.all_pictures()] == [0, 1] and entry.pictures[0][0].size == (24, 8)
    assert here.conversation.brought is None and entry.pictures[0][0].before


def test_a_file_that_cannot_be_read_is_refused_when_it_is_put_in(handlers, session, warned, tmp_path):
    page, here = handlers(), session()
    Image.new("RGB", (16, 8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    files = [str(tmp_path / "bad.png"), str(tmp_path / "good.png")]
    left = page.look_at(here, {"text": "look", "files": files})[page.page.message]
    assert left == {"text": "look", "files": files[1:]} and "not a readable picture" in warned[0]
    assert page.look_at(here, {"text": "look", "files": files[1:]})[page.page.message] == gr.skip()


def test_a_picture_of_a_phone_is_put_in_as_one_that_a_browser_shows(handlers, session, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 32), "orange")).save(tmp_path / "phone.heic")
    page, here = handlers(), session()
    (shown,) = page.look_at(here, {"text": "", "files": [str(tmp_path / "phone.heic")]})[page.page.message]["files"]
    assert Image.open(shown).format == "PNG" and Image.open(shown).size == (64, 32)


def test_models_that_are_refused_are_not_shown_as_chosen(handlers, session, warned):
    page, here = handlers(), session()
    here.assistant.models = (ModelMark("language", "words", None), ModelMark("painter", "paint", None))
    assert page.switch(here, "words", "nowhere") == {
        page.page.language_model: "words",
        page.page.picture_model: "paint",
    }
    assert "'nowhere' is not offered" in warned[0]


def test_every_word_changes_with_the_language(handlers, session):
    page, here = handlers(), session()
    said = page.speak(here, "zh")
    assert "画" in said[page.page.head] and "想看到" in said[page.page.log][0][2]
    assert all(
        any("\u4e00" <= letter <= "\u9fff" for letter in str(update)) or component is page.page.controls.named["top_p"]
        for component, update in said.items()
        if component in page.page.labels.components
    )


def test_what_the_controls_say_can_be_shown_again(handlers):
    controls = handlers().page.controls
    values = {name: component.value for name, component in controls.named.items()}
    values |= {"restorer": "none", "size": "24x16", "strength": 0.5, "area": "mask", "skip": 0.4, "paint": True}
    settings = controls.chosen(list(values.values())).settings
    again = dict(zip(values, controls.shown(settings), strict=True))
    shown = {name: update["value"] for name, update in again.items() if "value" in update}
    assert shown.items() <= (values | {"seed": ""}).items() and len(shown) >= 14


def test_the_restorer_of_the_command_line_stays_its_own(handlers):
    controls = handlers().page.controls
    assert controls.named["restorer"].value == "match"
    assert controls.chosen([component.value for component in controls.components]).settings.restorer is None
