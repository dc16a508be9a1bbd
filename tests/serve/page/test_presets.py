"""Presets, as a browser keeps them."""

import pytest

from llmga.errors import UserError
from llmga.serve.page.presets import LONGEST_NAME, MOST, kept, with_preset, without_preset
from llmga.serve.page.strings import STRINGS

ENGLISH = STRINGS["en"]


def test_a_preset_is_kept_under_its_name_without_the_seed_of_one_picture():
    presets = with_preset({}, "  soft \n light ", {"steps": "20", "seed": "7", "lock": True}, ENGLISH)
    assert presets == {"soft light": {"steps": "20"}} == kept(presets)
    assert without_preset(presets, "soft light") == {} and without_preset(presets, "other") == presets


def test_a_name_that_is_there_is_taken_anew():
    presets = with_preset({"a": {"steps": "1"}}, "a", {"steps": "2"}, ENGLISH)
    assert presets == {"a": {"steps": "2"}}


@pytest.mark.parametrize("name", ["", "  ", None, 7, "x" * (LONGEST_NAME + 1), "a\x00b"])
def test_a_preset_without_a_name_is_refused(name):
    with pytest.raises(UserError, match="Type a name"):
        with_preset({}, name, {"steps": "20"}, ENGLISH)


def test_there_are_not_more_than_can_be_seen():
    full = {str(number): {"steps": "1"} for number in range(MOST)}
    with pytest.raises(UserError, match="30 presets"):
        with_preset(full, "one more", {"steps": "1"}, ENGLISH)
    assert len(with_preset(full, "3", {"steps": "2"}, ENGLISH)) == MOST
    assert len(kept({**full, "one more": {"steps": "1"}})) == MOST


@pytest.mark.parametrize("stored", [None, "x", [1], {"a": 3}, {"a": {}}, {7: {"steps": "1"}}, {"a": {"steps": [1]}}])
def test_what_cannot_be_a_preset_is_passed_over(stored):
    assert kept(stored) == {}
