"""The handlers of a page that keeps conversations, called as gradio calls them."""

from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from llmga.assistant.library.library import Library
from llmga.assistant.loading import Models
from llmga.assistant.record import ModelMark
from llmga.diffrir.restorers import RESTORERS
from llmga.serve.gradio_web_server import build_parser, page_options
from llmga.serve.page.desk import Desk
from llmga.serve.page.handlers import EventHandlers
from llmga.serve.page.layout import PageLayout
from llmga.serve.page.model_pool import ModelPool

ONE = "Here. <gen_image> a red circle </gen_image> Good?"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A page with models that are not opened."""
    folder = tmp_path_factory.mktemp("gradio")
    own = {"sampler_name": "checkpoint", "steps": 3, "guidance_scale": 2.5}
    marks = (ModelMark("language", "words", None), ModelMark("painter", "paint", None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        args = build_parser().parse_args(["--library", str(folder / "library")])
        options = replace(page_options(args), model_directory=folder)
        models = Models(None, SimpleNamespace(describe=lambda: own), RESTORERS["match"], marks)
        return EventHandlers(PageLayout(pool := ModelPool(options, models), options), pool, 2)


@pytest.fixture
def page(built, monkeypatch, tmp_path, toy, toy_pipeline_class):
    """The handlers, with a library of their own and assistants that say `ONE` to everything."""

    def assistant(*_):
        pipeline = toy_pipeline_class()
        pipeline.use_sampler = lambda name: None
        made = toy(*[ONE] * 9, pipeline=pipeline, seed=5)
        made.models = (ModelMark("language", "words", None), ModelMark("painter", "paint", None))
        return made

    library = Library(tmp_path / "library")
    pool = SimpleNamespace(assistant=assistant, offered=lambda: (["words"], ["paint"]))
    monkeypatch.setattr(built, "library", library)
    monkeypatch.setattr(built, "desk", Desk(pool, tmp_path, built.slots, library))
    yield built
    library.close()


@pytest.fixture
def enter(page):
    """`enter(visitor, place)` opens a tab; the session and what is drawn."""

    def opened(visitor=None, place="", name=None, language="en"):
        headers = {"accept-language": language}
        request = SimpleNamespace(headers=headers, username=name, session_hash=str(len(page._tabs)))
        updates = page.enter(visitor, place, request)
        return updates[page.page.session], updates

    return opened


def say(page, session, text):
    usual = [component.value for component in page.page.controls.components]
    page.say(session, {"text": text, "files": []}, "", *usual)
    *_, last = page.watch(session)
    return last


def titles(page, session, updates):
    talks = updates[page.page.library.talks]["talks"]
    return [html.partition('title="')[2].partition('"')[0] for _, _, html in talks]


def press(page, session, verb, key="", text=""):
    return page.keep(session, SimpleNamespace(_data={"verb": verb, "key": key, "text": text}))


def test_a_visitor_is_known_again_by_what_the_browser_remembers(page, enter):
    here, drawn = enter({"wide": True})
    visitor = drawn[page.page.visitor]
    say(page, here, "a fox")
    _, again = enter(visitor)
    assert "a fox" in str(again[page.page.log]) and again[page.page.place] == here.conversation.key
    assert "a fox" not in str(enter(visitor, name="bob")[1][page.page.log])  # another one at the same browser
    for other in (None, {"id": "x"}, {"id": ["a"]}, "made up", {"id": "0" * 32}):
        assert "a fox" not in str(enter(other, here.conversation.key)[1][page.page.log])


def test_the_settings_are_shown_as_the_browser_remembers_them(page, enter):
    steps, sampler = page.page.controls.named["steps"], page.page.controls.named["sampler"]
    for others in (
        {"gone": "x"},
        {"size": "wide"},
        {"sampler": "no such"},
    ):  # a field left wrong takes no other with it
        drawn = enter({"names": ["steps", *others], "values": [17, *others.values()]})[1]
        assert drawn[steps]["value"] == 17 and "value" not in drawn[sampler]
    for told in ({"names": ["sampler"], "values": ["no such"]}, {"names": ["steps"], "values": []},
                 {"names": ["size"], "values": ["wide"]}, {"names": 3, "values": 3}):  # fmt: skip
        assert not any("value" in enter(told)[1][component] for component in (steps, sampler))


def test_the_list_is_searched_and_paged(page, enter, monkeypatch):
    monkeypatch.setattr("llmga.serve.page.library_panel.PAGE", 2)
    here, _ = enter()
    for text in ("a fox", "a hen", "a goose"):
        last = say(page, here, text)
        page.clear(here, "words", "paint")
    assert titles(page, here, page.search(here, "")) == ["a goose", "a hen"]
    more = page.search(here, "")[page.page.library.talks]["below"]
    assert 'data-do="more"' in more and last
    assert titles(page, here, press(page, here, "more")) == ["a goose", "a hen", "a fox"]
    assert titles(page, here, page.search(here, "FOX")) == ["a fox"]
    found = page.search(here, "dragon")[page.page.library.talks]
    assert found["talks"] == [] and "Nothing was found" in found["below"]


def test_a_conversation_is_opened_renamed_deleted_and_had_back(page, enter):
    here, _ = enter()
    say(page, here, "a fox")
    key = here.conversation.key
    page.clear(here, "words", "paint")
    say(page, here, "a hen")
    opened = press(page, here, "open", key)
    assert "a fox" in str(opened[page.page.log]) and opened[page.page.place] == key
    assert titles(page, here, press(page, here, "rename", key, "My fox")) == ["a hen", "My fox"]
    gone = press(page, here, "delete", key)
    assert titles(page, here, gone) == ["a hen"] and "welcome" in str(gone[page.page.log])
    assert "My fox" in gone[page.page.library.talks]["above"]
    back = press(page, here, "restore", key)
    assert titles(page, here, back) == ["a hen", "My fox"] and "a fox" in str(back[page.page.log])
    assert back[page.page.library.talks]["above"] == ""


def test_nobody_opens_or_deletes_what_is_of_somebody_else(page, enter, monkeypatch):
    told = []
    monkeypatch.setattr("gradio.Warning", told.append)
    here, there = enter()[0], enter()[0]
    say(page, here, "a fox")
    for verb in ("open", "rename", "delete", "restore", "no such", "more"):
        press(page, there, verb, here.conversation.key, "mine")
    assert len(told) == 4 and "no such conversation" in told[0]
    assert titles(page, here, page.search(here, "")) == ["a fox"] and titles(page, there, page.search(there, "")) == []


def test_what_is_uploaded_becomes_a_conversation_of_its_own(page, enter, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("gradio.Warning", told.append)
    monkeypatch.setattr("gradio.Info", told.append)
    here, _ = enter()
    say(page, here, "a fox")
    Image.new("RGB", (6, 4), "teal").save(tmp_path / "wall.png")
    drawn = page.load(here, [str(tmp_path / "wall.png")])
    assert "wall" in str(drawn[page.page.log]) and titles(page, here, drawn) == ["wall", "a fox"]
    (tmp_path / "x.zip").write_bytes(b"PK nonsense")
    page.load(here, [str(tmp_path / "x.zip")])
    assert "x.zip" in told[-1] and str(tmp_path) not in told[-1] and "wall" in str(page.look(here)[page.page.log])


def test_a_tab_sees_what_another_one_does(page, enter):
    here, drawn = enter()
    there, _ = enter(drawn[page.page.visitor])
    nothing = {page.page.log: gr.skip()}
    say(page, here, "a fox")
    assert page.refresh(None) == page.refresh(here) == nothing
    seen = page.refresh(there)
    assert titles(page, there, seen) == ["a fox"] and page.refresh(there) == nothing
    press(page, here, "rename", here.conversation.key, "My fox")
    assert titles(page, there, page.refresh(there)) == ["My fox"]


def test_a_drawing_that_was_overtaken_on_its_way_is_made_good(page, enter):
    here, _ = enter()
    say(page, here, "a fox")
    stale, fresh, nothing = page.look(here), page.look(here), {page.page.log: gr.skip()}
    assert page.refresh(here, stale[page.page.drawn]) == nothing  # the newer one may be on its way
    assert page.refresh(here, fresh[page.page.drawn]) == nothing
    assert page.refresh(here, stale[page.page.drawn]) == nothing
    again = page.refresh(here, stale[page.page.drawn])  # the newer one was there before it
    assert "a fox" in str(again[page.page.log]) and titles(page, here, again) == ["a fox"]
    assert page.refresh(here, again[page.page.drawn]) == nothing
    renamed = press(page, here, "rename", here.conversation.key, "My fox")
    assert renamed[page.page.drawn] > again[page.page.drawn]  # a list may be overtaken as a conversation may
