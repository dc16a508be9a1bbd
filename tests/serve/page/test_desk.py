"""Conversations that are open and kept: tabs that come and go, servers that end."""

from dataclasses import replace
from threading import Event, Semaphore
from types import SimpleNamespace

import pytest

from llmga.assistant.library.library import Library
from llmga.assistant.session import Settings
from llmga.assistant.shared_pipeline import FairLock
from llmga.errors import UserError
from llmga.serve.page.controls import Chosen
from llmga.serve.page.desk import Desk
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.transcript import Notice
from tests.toys import ToyChat

ONE = "Here. <gen_image> a red circle </gen_image> Good?"
TWO = "First <gen_image> a cat </gen_image> then <gen_image> a dog </gen_image> done"
ANN, BOB = "ann", "bob"


@pytest.fixture
def library(tmp_path):
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


@pytest.fixture
def desk(toy, toy_pipeline_class, tmp_path, library):
    """`desk(*replies)` is the desk of a server; every conversation is answered with these."""

    def make(*replies, kept=True):
        def assistant(language=None, picture=None):
            pipeline = toy_pipeline_class()
            pipeline.use_sampler = lambda name: None
            return toy(*replies, pipeline=pipeline, seed=5)

        pool = SimpleNamespace(assistant=assistant, offered=lambda: ([], []))
        return Desk(pool, tmp_path, FairLock(2), library if kept else None)

    return make


@pytest.fixture
def token(monkeypatch):
    """`token()` lets the language model say five letters more."""
    allowed, answer = Semaphore(0), ToyChat._answer

    def held_back(*given):
        for piece in answer(*given):
            assert allowed.acquire(timeout=60)
            yield piece

    def say_more():
        allowed.release()
        wait_for(lambda: not allowed._value, 1)

    monkeypatch.setattr(ToyChat, "_answer", held_back)
    say_more.all = lambda: allowed.release(1000)
    yield say_more
    allowed.release(1000)


def begin(session, text="go"):
    session.conversation.start(session.say(text, (), Chosen(Settings()), EditorValue()))


def talk(session, text="go"):
    begin(session, text)
    list(session.conversation.changes())
    return session.entries()


def asked(session):
    return [entry.asked for entry in session.entries()]


def files(session):
    return sorted(path.name for path in session.folder.glob("*.png"))


def test_a_tab_that_opens_goes_on_where_its_visitor_was(desk):
    at = desk(ONE, ONE)
    here, there = at.enter(ANN, "", "en"), at.enter(BOB, "", "en")
    talk(here, "mine"), talk(there, "theirs")
    again = at.enter(ANN, "", "zh")
    assert again.conversation is here.conversation and asked(again) == ["mine"] and asked(there) == ["theirs"]
    assert at.enter(BOB, here.conversation.key, "en").conversation is there.conversation


def test_two_tabs_may_show_two_conversations_and_each_finds_its_own_again(desk):
    at = desk(ONE, ONE)
    here, there = at.enter(ANN, "", "en"), at.enter(ANN, "new", "en")
    talk(here, "one"), talk(there, "two")
    for tab, text in ((here, "one"), (there, "two")):
        at.leave(tab)
        assert asked(at.enter(ANN, tab.conversation.key, "en")) == [text]


def test_an_answer_goes_on_when_its_tab_is_gone_and_the_next_tab_follows_it(desk, token):
    at = desk(ONE)
    here = at.enter(ANN, "", "en")
    begin(here)
    token()
    key = here.conversation.key
    at.leave(here)
    again = at.enter(ANN, key, "en")
    assert again.conversation is here.conversation and again.conversation.running
    token.all()
    list(again.conversation.changes())
    (entry,) = again.entries()
    assert entry.reply == ONE and len(entry.all_pictures()) == 1 and entry.troubles == ()


def test_an_answer_that_nobody_follows_is_kept_and_let_go_of(desk, token):
    at = desk(ONE)
    here = at.enter(ANN, "", "en")
    begin(here)
    at.leave(here)
    token.all()
    list(here.conversation.changes())
    assert wait_for(lambda: at.is_open(here.conversation.key) is None)
    again = at.enter(ANN, "", "en")
    assert again.conversation is not here.conversation and again.entries()[0].reply == ONE


def wait_for(true, seconds=20):
    pause = Event()
    for _ in range(seconds * 50):
        if true():
            return True
        pause.wait(0.02)
    return False


def test_where_nothing_is_kept_an_answer_ends_with_its_tab(desk, token):
    at = desk(ONE, kept=False)
    here = at.enter("", "", "en")
    begin(here)
    token()
    at.leave(here)
    token.all()
    list(here.conversation.changes())
    assert here.entries()[0].troubles == (Notice("stopped"),) and here.entries()[0].reply != ONE


def test_a_server_that_ends_loses_nothing_that_was_seen(desk, token):
    here = desk(TWO).enter(ANN, "", "en")
    begin(here, "two animals")
    while not here.entries()[0].all_pictures():
        token()
    seen, before = here.entries()[0], files(here)
    again = desk(ONE).enter(ANN, here.conversation.key, "en")  # of another process; the first one has no say any more
    (entry,) = again.entries()
    assert entry.asked == "two animals" and entry.reply.startswith(seen.reply.rstrip()[:20])
    assert [each.url for each in entry.all_pictures()] == [each.url for each in seen.all_pictures()]
    assert entry.troubles == (Notice("interrupted"),) and files(again) == before
    token.all()
    list(again.retry(Chosen(Settings())))
    assert [each.reply for each in again.entries()] == [ONE] and again.entries()[0].troubles == ()


def test_a_message_that_was_not_answered_yet_is_there_and_can_be_answered(desk, token):
    here = desk(ONE).enter(ANN, "", "en")
    begin(here, "a fox")
    again = desk(ONE).enter(ANN, "", "en")
    (entry,) = again.entries()
    assert entry.asked == "a fox" and entry.troubles == (Notice("interrupted"),) and entry.reply == ""
    token.all()
    list(again.retry(Chosen(Settings())))
    assert [(each.asked, each.reply) for each in again.entries()] == [("a fox", ONE)]
    assert asked(desk().enter(ANN, "", "en")) == ["a fox"]


def test_what_went_wrong_and_a_region_that_was_left_are_kept(desk, photo):
    here = desk("Nice.", "<gen_image> forbidden </gen_image>").enter(ANN, "", "en")
    talk(here)
    talk(here, "more")
    again = desk(ONE).enter(ANN, "", "en")
    assert again.entries()[1].troubles == ("this prompt is forbidden; ask for another.",)
    assert again.entries() == here.entries()


def test_an_undo_is_kept(desk):
    here = desk(ONE, ONE).enter(ANN, "", "en")
    talk(here, "one"), talk(here, "two")
    here.undo()
    assert asked(desk().enter(ANN, "", "en")) == ["one"]


def test_a_new_conversation_is_listed_once_something_is_said(desk, library):
    at = desk(ONE)
    here = at.enter(ANN, "", "en")
    at.turn_to(here, at.fresh(ANN))
    assert library.listed(ANN).listed == () and list(library.pictures.iterdir()) == []
    talk(here, "a fox")
    assert [each.title for each in library.listed(ANN).listed] == ["a fox"] and at.changes(ANN) and not at.changes(BOB)


def test_a_full_disk_is_told_and_the_conversation_goes_on(desk, library, monkeypatch):
    at = desk(ONE, ONE)
    here = at.enter(ANN, "", "en")

    def full(*_):
        raise UserError("--library cannot be written (disk is full); make room.")

    monkeypatch.setattr(library, "writing", full)
    assert [entry.reply for entry in talk(here)] == [ONE]
    assert "disk is full" in str(here.conversation.problem)
    monkeypatch.undo()
    assert len(talk(here)) == 2 and asked(desk().enter(ANN, "", "en")) == ["go", "go"]


def test_a_tab_that_was_thought_closed_joins_again(desk):
    at = desk(ONE, ONE)
    here = at.enter(ANN, "", "en")
    talk(here)
    at.leave(here)
    there = at.enter(ANN, "", "en")
    assert there.conversation is not here.conversation
    assert at.present(here).conversation is there.conversation


def test_settings_go_with_the_session(desk):
    here = desk(ONE).enter(ANN, "", "en")
    steps = here.say("go", (), Chosen(replace(Settings(), steps=7)), EditorValue())
    here.conversation.start(steps)
    list(here.conversation.changes())
    assert desk().enter(ANN, "", "en").assistant.settings.steps == 7
