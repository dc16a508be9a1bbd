import pytest

from llmga.errors import UserError
from llmga.registry import Registry


def test_a_row_is_added_under_a_free_name_and_listed_last():
    table = Registry("colour", {"red": 1})
    assert table.register("blue", 2) == 2
    assert dict(table) == {"red": 1, "blue": 2}
    with pytest.raises(ValueError, match="colour 'red' is there already"):
        table.register("red", 3)
    assert table["red"] == 1


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown colour 'rad', did you mean 'red'\? Known are: red, blue\."):
        Registry("colour", {"red": 1, "blue": 2})["rad"]
