"""What a file says is data of the stated types and ranges, or refused in words."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llmga.typed import is_one_part, like, one_part, parsed, read_json, row_of, typed, up_to, within


class Options(TypedDict, total=False):
    soft: bool
    strength: Annotated[float, within(0, 1)] | None


@dataclass(frozen=True)
class Part:
    name: Annotated[str, up_to(5)]
    steps: Annotated[int, within(1, 1000)] = 20


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    kind: Literal["a", "b"] = "a"
    size: tuple[int, int] | None = None
    options: Options = field(default_factory=dict)
    by_name: dict[str, list[float]] = field(default_factory=dict)
    row: Annotated[str, row_of(("one", "two"))] | None = None
    digest: Annotated[str, like("[0-9a-f]+", "hexadecimal")] | None = None
    other: str = field(default="", metadata={"key": "another"})


def test_plain_values_become_data():
    told = {
        "parts": [{"name": "x", "steps": 7}, {"name": "y", "unknown": 1}],
        "size": [3, 4],
        "options": {"strength": 1, "soft": True, "later": 0},
        "by_name": {"é": [1, 0.5]},
        "row": "two",
        "digest": "00ff",
        "another": "z",
    }
    assert typed(Whole, parsed(json.dumps(told))) == Whole(
        parts=(Part("x", 7), Part("y")), size=(3, 4), options={"strength": 1, "soft": True}, by_name={"é": [1, 0.5]},
        row="two", digest="00ff", other="z",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], r"it is \[\], which is no object"),
        ({}, "parts is missing"),
        ({"parts": [{"name": 1}]}, r"parts\[0\].name is 1, which is no text"),
        ({"parts": [{"name": "longer"}]}, r"parts\[0\].name is 'longer'; allowed is a length of 0 to 5"),
        ({"parts": [{"name": "x", "steps": True}]}, "which is no whole number"),
        ({"parts": [{"name": "x", "steps": 2.0}]}, "which is no whole number"),
        ({"parts": [{"name": "x", "steps": 0}]}, r"parts\[0\].steps is 0; allowed is 1 to 1000"),
        ({"parts": [], "kind": []}, r"kind is \[\]; allowed is 'a', 'b'"),
        ({"parts": [], "size": [1]}, "no list of 2"),
        ({"parts": [], "size": [1, 10**30]}, r"size\[1\] is too large a number"),
        ({"parts": [], "options": {"soft": 1}}, "options.soft is 1, which is no truth"),
        ({"parts": [], "options": {"strength": 2}}, "options.strength is 2; allowed is 0 to 1"),
        ({"parts": [], "by_name": {"x": ["1"]}}, r"by_name.'x'\[0\] is '1', which is no number"),
        ({"parts": [], "by_name": {"x": [10**400]}}, "too large a number"),
        ({"parts": [], "row": "three"}, "row is 'three'; allowed is one of one, two"),
        ({"parts": [], "digest": "xyz"}, "digest is 'xyz'; allowed is hexadecimal"),
        ({"parts": [], "row": "x" * 10**6}, "row is longer than 500000 characters"),
    ],
)
def test_what_does_not_fit_is_named(told, words):
    with pytest.raises((TypeError, ValueError), match=words) as problem:
        typed(Whole, told)
    assert len(str(problem.value)) < 200


def test_an_infinite_number_is_none():
    with pytest.raises(ValueError, match="too large"):
        typed(Whole, parsed('{"parts": [], "by_name": {"x": [1e999]}}'))


def test_makers_make_what_json_has_not():
    assert typed(tuple[Part | None, bytes], [None, "00ff"], {bytes: bytes.fromhex}) == (None, b"\x00\xff")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "a name is given twice"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "Infinity is no number"),
        (r'["\ud800"]', "half a character"),
        (r'{"\uDFFF": 1}', "half a character"),
        ("1" * 5000, "4300"),
        (b"\xff\xfe", "utf-8"),
        ("[" + "[]," * 200_000 + "0]", "more than 300000 values"),
        ('"' + "x" * 1_000_000 + '"', "longer than 1000000"),
    ],
)
def test_a_text_that_is_no_json_or_too_much_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parsed(text, longest=1_000_000, most=300_000)


def test_whole_characters_in_halves_are_whole():
    assert parsed(r'["\ud83d\ude00"]') == ["😀"]
    assert parsed("\ufeff[1]".encode()) == [1]


def test_only_plain_files_are_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}
    with pytest.raises(ValueError, match="longer than 7"):
        read_json(tmp_path / "a.json", longest=7)
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(OSError):
            read_json(place)


def test_one_part_of_a_path_leads_nowhere_else():
    assert is_one_part("llmga-toy_x1.5 (new)") and is_one_part("画") and is_one_part("~x")
    names = ("", ".", "..", "a/b", "/a", "a/", "./a", "../a", r"a\b", r"..\a", "C:", "C:a", "a\0", "a\n", "x" * 256,
             "https://a.b/c", "\\\\host\\share")  # fmt: skip
    assert [name for name in names if is_one_part(name)] == []
    assert typed(Any, 5) == 5
    with pytest.raises(ValueError, match="without folders"):
        typed(Annotated[str, one_part], "a/b")


PLAIN = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5)
JSON = some.recursive(
    PLAIN, lambda inside: some.lists(inside, max_size=4) | some.dictionaries(some.text(max_size=5), inside, max_size=4)
)


@given(JSON, some.sampled_from([Whole, Part, Options, tuple[Part, ...], dict[str, Part], list[float], int | None]))
def test_any_value_is_of_the_kind_or_refused(told, kind):
    with suppress(TypeError, ValueError):
        typed(kind, told)


@given(some.text() | some.binary(max_size=50))
def test_any_text_is_parsed_or_refused(text):
    with suppress(ValueError):
        parsed(text)
