"""Whose conversations there are, and what can be done with them."""

import sqlite3
import time

import pytest

from llmga.assistant.library import library as module
from llmga.assistant.library.library import FILE, Library
from llmga.errors import UserError

ANN, BOB = "ann", "bob"


def titles(library, owner=ANN, **how):
    return [each.title for each in library.listed(owner, **how).listed]


def test_everybody_sees_their_own_the_latest_first(library, talked):
    talked(ANN, "a fox"), talked(BOB, "a hen"), talked(ANN, "a goose")
    assert titles(library) == ["a goose", "a fox"] and titles(library, BOB) == ["a hen"]


def test_nobody_reaches_what_is_of_somebody_else(library, talked):
    key = talked(ANN, "a fox").key
    for attempt in (
        lambda: library.open(BOB, key),
        lambda: library.rename(BOB, key, "mine"),
        lambda: library.delete(BOB, key),
        lambda: library.restore(BOB, key),
        lambda: library.open(ANN, "0" * 32),
    ):
        with pytest.raises(UserError, match="no such conversation"):
            attempt()
    assert titles(library) == ["a fox"]


def test_words_of_both_sides_and_of_the_title_are_found(library, talked):
    first, second = talked(ANN, "Ein FUCHS und Äpfel"), talked(ANN, "二只猫", "a hen with 100%")
    library.rename(ANN, first.key, "Überblick")
    assert titles(library, wanted="fuchs") == titles(library, wanted="ÄPFEL") == ["Überblick"]
    assert titles(library, wanted="üBER red") == ["Überblick"]  # "a red circle" is what the assistant wrote
    assert titles(library, wanted="猫") == titles(library, wanted="100%") == titles(library, wanted="猫 hen")
    assert titles(library, wanted="1_0") == titles(library, wanted="fuchs hen") == []
    assert len(titles(library, wanted="  ")) == 2 and second.key != first.key


@pytest.mark.parametrize(
    ("said", "title"),
    [
        (" a  fox\nin the snow ", "a fox in the snow"),
        ("word " * 40, ("word " * 12).strip() + "…"),
        ("字" * 80, "字" * 60 + "…"),
    ],
)
def test_a_title_is_made_of_the_first_words(library, talked, said, title):
    talked(ANN, said, "and more")
    assert titles(library) == [title]


def test_a_title_that_was_given_stays(library, talked, toy, kept):
    conversation = talked(ANN, "a fox")
    library.rename(ANN, conversation.key, "  My \n fox ")
    conversation.save(kept(toy()))
    assert titles(library) == ["My fox"]
    with pytest.raises(UserError, match="title is empty"):
        library.rename(ANN, conversation.key, "  ")


def test_a_deleted_one_can_be_had_back_for_a_while(library, talked, monkeypatch):
    key = talked(ANN, "a fox", "another").key
    library.delete(ANN, key)
    assert titles(library) == [] and titles(library, wanted="fox") == []
    library.restore(ANN, key)
    assert titles(library) == ["a fox"] and len(library.open(ANN, key).load().session.exchanges) == 2
    library.delete(ANN, key)
    Library(library.folder).close()
    assert (library.pictures / key).is_dir()
    later = time.time() + module.KEPT_DELETED + 9
    monkeypatch.setattr(module.time, "time", lambda: later)
    Library(library.folder).close()
    assert not (library.pictures / key).exists()
    with pytest.raises(UserError, match="no such"):
        library.restore(ANN, key)


def test_a_thumbnail_is_a_small_file_of_the_last_picture(library, talked):
    conversation = talked(ANN, "a fox")
    (one,) = library.listed(ANN).listed
    assert one.thumbnail.is_file() and one.thumbnail.parent == conversation.pictures.path
    assert library.folder not in library.pictures.parents or one.thumbnail.is_relative_to(library.pictures)


def test_2000_conversations_are_listed_in_parts_in_less_than_a_second(library, talked):
    key = talked(ANN, "a fox").key
    with sqlite3.connect(library.folder / FILE) as raw:
        raw.create_function("casefold", 1, str.casefold)
        raw.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1999) INSERT INTO conversations "
            "SELECT printf('%032d', i), owner, 'talk ' || i, 0, i, i, NULL, thumbnail, 1, head, extra "
            "FROM conversations, n WHERE id = ?",
            (key,),
        )
        raw.execute(
            "INSERT INTO exchanges SELECT c.id, p.position, content, words FROM exchanges, conversations c, "
            "(SELECT 1 position UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) p WHERE conversation = ?",
            (key,),
        )
    began = time.perf_counter()
    again = Library(library.folder)
    first = again.listed(ANN)
    assert (took := time.perf_counter() - began) < 1, took
    assert [each.title for each in first.listed[:3]] == ["a fox", "talk 1999", "talk 1998"] and first.more
    seen, skip = [], 0
    while (page := again.listed(ANN, skip=skip)).more:
        seen, skip = [*seen, *page.listed], skip + len(page.listed)
    seen += page.listed
    assert len({each.id for each in seen}) == len(seen) == 2000
    began = time.perf_counter()
    assert [each.title for each in again.listed(ANN, "circle talk 77", most=99).listed][-1] == "talk 77"
    assert (took := time.perf_counter() - began) < 1, took
    again.close()


def test_a_place_that_cannot_be_used_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--library .*file.* cannot be used"):
        Library(tmp_path / "file")
    (tmp_path / FILE).write_text("no database, but long enough to be looked at " * 99)
    with pytest.raises(UserError, match="cannot be used .*not a database"):
        Library(tmp_path)
