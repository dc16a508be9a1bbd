import random
import re
from collections import Counter

import pytest

from llmga.serve.story import ASK, Character
from llmga.toyworld.world import captions
from llmga.toyworld.world.sampling import is_held_out
from llmga.toyworld.world.talk.asking import holds_all
from llmga.toyworld.world.talk.changes import CHANGES
from llmga.toyworld.world.talk.dialogues import STEPS, Plan, conversation, dialogue
from llmga.toyworld.world.talk.lexicon import WORDS
from llmga.toyworld.world.talk.outside import COLOURS, OUTSIDE, THINGS, outside
from llmga.toyworld.world.talk.refusals import REASONS
from llmga.toyworld.world.talk.smalltalk import TALK, talk
from llmga.toyworld.world.talk.stories import BEATS, BOOK, PAGES, book
from llmga.toyworld.world.talk.voice import LANGUAGES, SPLITS, Voice

PROMPT = re.compile(r"<gen_image> (.*?) </gen_image>")
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def turns():
    """All turns of many conversations, each with those before it."""
    rng = random.Random(0)
    talks = [dialogue(Voice(language, rng), 30) for language in LANGUAGES for _ in range(25)]
    talks += [conversation(Voice(language, rng)) for language in LANGUAGES for _ in range(150)]
    return [(said[:number], turn) for said in talks for number, turn in enumerate(said)]


def test_the_prompts_are_those_of_the_scenes_and_hold_what_was_asked(turns):
    for _, turn in turns:
        read = tuple(captions.read(prompt) for prompt in PROMPT.findall(turn.answer))
        assert read == turn.painted and len(turn.asked) == len(read)
        assert all(holds_all(scene, asked) for scene, asked in zip(read, turn.asked, strict=True)), turn
        assert not any(is_held_out(scene) for scene in (*read, *turn.shown))


def test_every_step_and_every_change_happens(turns):
    kinds = {turn.kind for _, turn in turns}
    assert {kind.split()[0] for kind in kinds} >= {*STEPS, "two", "book"} - {"vague"}
    assert {f"change {kind}" for kind in (*CHANGES, "both")} <= kinds
    assert {f"outside {kind}" for kind in OUTSIDE} | {f"talk {kind}" for kind in TALK} <= kinds


def test_what_cannot_be_done_is_said_and_paints_nothing(turns):
    found = {}
    for before, turn in turns:
        if turn.kind.startswith("refused"):
            found[turn.kind] = turn
            assert not turn.painted and "<gen_image>" not in turn.answer
            painted = [scene for earlier in before for scene in (*earlier.painted, *earlier.shown)]
            assert turn.kind != "refused no picture yet" or not painted
            assert turn.kind != "refused no room" or len(turn.before.things) == 3
            assert turn.kind != "refused no earlier picture" or sum(len(each.painted) for each in before) == 1
    assert set(found) == {f"refused {reason}" for reason in REASONS}


def test_who_goes_back_gets_a_picture_that_was_painted(turns):
    for before, turn in turns:
        painted = [scene for earlier in before for scene in earlier.painted]
        if turn.kind == "change back":
            assert turn.painted[0] == painted[-2]
        if turn.kind == "change first":
            assert turn.painted[0] == painted[0]


def test_pictures_are_shown_in_any_turn_and_several_in_one(turns):
    shown = Counter(min(len(before), 10) for before, turn in turns if turn.shown)
    assert set(shown) == set(range(11))
    assert {len(turn.shown) for _, turn in turns} == {0, 1, 2}
    assert {len(turn.painted) for _, turn in turns} >= {0, 1, 2, 3, 4}


def test_answers_are_in_the_language_of_the_person_and_prompts_in_english(turns):
    for _, turn in turns:
        assert not any(CHINESE.search(prompt) for prompt in PROMPT.findall(turn.answer))
        words = PROMPT.sub("", turn.answer)
        if not turn.kind.startswith("book"):
            assert bool(CHINESE.search(words)) == (turn.language == "zh"), turn


def test_the_same_seed_says_the_same():
    said = [[turn.person for turn in dialogue(Voice("en", random.Random(seed)), 8)] for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2] and len(said[0]) == 8


def test_conversations_are_as_long_as_planned():
    rng = random.Random(5)
    lengths = [len(conversation(Voice("en", rng), Plan(turns=9))) for _ in range(80)]
    assert {1, 9} <= set(lengths) and max(lengths) == 9


def test_no_pictures_are_shown_where_none_are_wanted():
    assert not any(turn.shown for turn in dialogue(Voice("en", random.Random(3)), 30, Plan(pictures=False)))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_outside_and_small_talk_paint_nothing(language, split):
    voice = Voice(language, random.Random(4), split)
    for kind in (*OUTSIDE, *TALK):
        said, answer = (outside if kind in OUTSIDE else talk)(voice, kind)
        assert said and answer and "<gen_image>" not in answer


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_called_unknown_is_unknown(language):
    known = {way for ways in WORDS[language].values() for way in ways}
    for row in (THINGS, COLOURS):
        assert not known & {*row[language].train, *row[language].test}


@pytest.mark.parametrize("language", LANGUAGES)
def test_picture_books_are_asked_for_and_answered_as_the_storybook_does(language):
    assert (ASK[language]["characters"], ASK[language]["page"]) == BOOK[language]
    lengths = set()
    for seed in range(25):
        who, *pages = book(Voice(language, random.Random(seed)))
        hero = Character.read(who.answer)
        lengths.add(len(pages))
        for page in pages:
            (prompt,) = PROMPT.findall(page.answer)
            assert hero.look in prompt and hero.is_in(page.answer)
        assert len({page.painted[0].ground for page in pages}) > 1
    assert lengths == set(PAGES) and max(PAGES) <= len(BEATS)
