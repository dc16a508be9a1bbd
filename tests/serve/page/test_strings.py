"""Every word in every language."""

import re
from pathlib import Path

import pytest

from llmga.serve.page import strings
from llmga.serve.page.strings import LANGUAGES, STRINGS, preferred_language

SOURCES = Path(strings.__file__).parent
SAME = {"title", "setting top_p"}


def test_every_language_has_every_word():
    assert set(STRINGS) == set(LANGUAGES)
    for said in STRINGS.values():
        assert list(said) == list(STRINGS["en"]) and all(said.values())


@pytest.mark.parametrize("key", STRINGS["en"])
def test_a_word_keeps_its_places_and_is_translated(key):
    english, chinese = STRINGS["en"][key], STRINGS["zh"][key]
    assert english.count("{}") == chinese.count("{}")
    assert (english == chinese) == (key in SAME)
    assert key in SAME or re.search(r"[\u4e00-\u9fff]", chinese)


def test_no_word_is_left_over():
    sources = "".join(p.read_text("utf-8") for p in SOURCES.glob("*.*") if p.name != "strings.py")
    made = (
        "about ",
        "card ",
        "canvas ",
        "example ",
        "setting ",
        "told ",
    )  # put together from a part that is in the sources, or in the table of settings
    quoted = [key for key in STRINGS["en"] if f'"{key}"' in sources or f"'{key}'" in sources]
    assert [key for key in STRINGS["en"] if key not in quoted and not key.startswith(made)] == []


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("de-AT, zh-TW", "zh"), ("fr", "en"), ("", "en"), ("en-GB,zh", "en")],
)
def test_the_browser_says_the_language(accepted, language):
    assert preferred_language(accepted) == language
