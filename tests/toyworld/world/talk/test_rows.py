import importlib
import pkgutil
import random
import string
from collections.abc import Iterator

import pytest

from llmga.toyworld.world import talk
from llmga.toyworld.world.talk.cases import BARS
from llmga.toyworld.world.talk.changes import CHANGES
from llmga.toyworld.world.talk.dialogues import conversation
from llmga.toyworld.world.talk.stories import book
from llmga.toyworld.world.talk.voice import LANGUAGES, LEAST, TEST, Phrases, Voice, row

MODULES = [importlib.import_module(f"{talk.__name__}.{found.name}") for found in pkgutil.iter_modules(talk.__path__)]


def rows(value: object) -> Iterator[dict[str, Phrases]]:
    """Every row within tables of a module."""
    if isinstance(value, dict):
        if value and all(isinstance(each, Phrases) for each in value.values()):
            yield value
        else:
            for each in value.values():
                yield from rows(each)
    elif isinstance(value, tuple):
        for each in value:
            yield from rows(each)


ROWS = {id(found): found for module in MODULES for value in list(vars(module).values()) for found in rows(value)}


def slots(text: str) -> set[str]:
    return {name.lower() for _, name, _, _ in string.Formatter().parse(text) if name}


def test_rows_are_found():
    assert len(ROWS) > 80


def test_no_phrasing_is_both_taught_and_kept_for_tests():
    for language in LANGUAGES:
        taught = {text for found in ROWS.values() for text in found[language].train}
        kept = {text for found in ROWS.values() for text in found[language].test}
        assert kept and not taught & kept


def test_every_row_has_both_languages_with_the_same_slots():
    for found in ROWS.values():
        assert set(found) == set(LANGUAGES)
        ways = [set().union(*(slots(text) for text in (*said.train, *said.test))) - {"m"} for said in found.values()]
        assert ways[0] == ways[1], found["en"].train[:2]
        assert bool(found["en"].test) == bool(found["zh"].test) and found["en"].train and found["zh"].train


def test_the_split_follows_from_the_words_alone():
    said = tuple(f"phrase {number}" for number in range(20))
    one, other = row(said, said), row(said[::-1], said)
    assert set(one["en"].test) == set(other["en"].test) and 1 <= len(one["en"].test) <= 8
    assert "" in row(("", "", "a", "b"), ("", "一", "二"))["en"].train, "who says nothing says nothing new"
    assert not Phrases(*said[: LEAST - 1]).test


class Recorder(Voice):
    """A voice that notes which rows it picks from."""

    picked: set[int] = set()

    def pick(self, said, **words):
        type(self).picked.add(id(said))
        return super().pick(said, **words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_row_is_used(language):
    rng = random.Random(7)
    Recorder.picked = set()
    for _ in range(150):
        conversation(Recorder(language, rng))
    for bar in ("story", "several pictures", "two pictures", "long prompts", "vague", "yes", "no", "open questions"):
        for _ in range(50):
            BARS[bar](Recorder(language, rng))
    for kind in CHANGES:
        for _ in range(40):
            BARS[f"change {kind}"](Recorder(language, rng))
    book(Recorder(language, rng))
    never_split = {"LEADS", "CHANGED", "SEVERAL", "SIMILAR", "BACK"}  # answers
    answers = importlib.import_module(f"{talk.__name__}.answers")
    unused = [found for key, found in ROWS.items() if key not in Recorder.picked
              and not any(found is vars(answers)[name] for name in never_split)]  # fmt: skip
    assert not unused, [found[language].train[:2] for found in unused]


def test_a_test_voice_takes_what_is_kept():
    said = row(("one", "two", "three", "four"), ("一", "二", "三", "四"))
    voice = Voice("en", random.Random(0), TEST)
    assert {voice.pick(said) for _ in range(20)} == set(said["en"].test)
