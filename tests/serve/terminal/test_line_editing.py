"""What is kept of what was typed: the history on disk, and keys that nobody asked for."""

import os
import stat

import pytest
from prompt_toolkit.history import InMemoryHistory

from llmga.serve.terminal.completing import candidates
from llmga.serve.terminal.conversations import KEPT, new_place
from llmga.serve.terminal.keyboard import said
from llmga.serve.terminal.line_editing import LONGEST_HISTORY, history_file, open_history


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_a_long_history_is_cut_to_its_latest_messages():
    history = open_history()
    for number in range(2 * LONGEST_HISTORY + 1):
        history.store_string(f"message {number}\nof two lines")
    latest = [f"message {2 * LONGEST_HISTORY - number}\nof two lines" for number in range(LONGEST_HISTORY)]
    assert list(open_history().load_history_strings()) == latest
    assert history_file().read_text().count("message") == LONGEST_HISTORY


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"", b"no message at all"])
def test_a_damaged_history_does_not_matter(damage):
    history_file().parent.mkdir()
    history_file().write_bytes(damage)
    assert list(open_history().load_history_strings()) == []


def test_a_disk_that_takes_no_history_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert isinstance(open_history(), InMemoryHistory)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("a cat\r", "a cat\r"),
        ("a cax\x7ft", "a cat"),
        ("\x7f\x7fa\x1b[A\x1b[1;5C\x1bOPb", "ab"),
        ("\x1b[200~one\rtwo\x1b[201~\rthree", "one\ntwo\rthree"),
        ("\x1b[200~cut off", "cut off"),
        ("one\r\x7ftwo", "one\rtwo"),  # what was ended cannot be erased any more
        ("\u753b\x00\x07\x9b", "\u753b"),
    ],
)
def test_the_text_that_keys_make(keys, text):
    assert said(keys) == text


def test_nothing_is_offered_where_words_are_said():
    assert list(candidates(None, "a red /im")) == list(candidates(None, "im")) == list(candidates(None, "/hlp x")) == []
    assert [each.text for each in candidates(None, "/re")] == ["/redo ", "/retry ", "/repaint ", "/repair "]


def test_the_latest_conversations_are_kept_where_nobody_else_reads_them(tmp_path):
    places = []
    for _ in range(KEPT + 5):
        places.append(new_place())
        places[-1].mkdir()
    kept = sorted(os.listdir(tmp_path / "llmga" / "conversations"))
    assert len(kept) == KEPT and {places[-1].name, places[-2].name} <= set(kept)
    assert stat.S_IMODE((tmp_path / "llmga" / "conversations").stat().st_mode) == 0o700


def test_a_disk_that_keeps_no_conversation_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert not new_place().exists()
