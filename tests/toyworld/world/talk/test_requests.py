import random

import pytest

from llmga.toyworld.world import captions
from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.sampling import held_out_pairs, is_held_out, random_scene
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk.answers import prompt
from llmga.toyworld.world.talk.asking import Asked, as_reading, holds_all, verdict
from llmga.toyworld.world.talk.completing import complete
from llmga.toyworld.world.talk.lexicon import BESIDE, GROUNDS, SETTINGS, WHERE, WORDS
from llmga.toyworld.world.talk.requests import FORMS, request
from llmga.toyworld.world.talk.sentences import body
from llmga.toyworld.world.talk.slips import slipped
from llmga.toyworld.world.talk.vague import MOODS, vague
from llmga.toyworld.world.talk.voice import LANGUAGES, SPLITS, Voice
from llmga.toyworld.world.talk.wishing import partial

STAR = {"kind": "star", "colour": "blue"}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_prompt_of_a_request_holds_all_that_was_named(language, split):
    voice = Voice(language, random.Random(1), split)
    forms = set()
    for _ in range(200):
        made = request(voice, long=0.2)
        forms.add(made.kind)
        read = captions.read(prompt(made.scene, voice.rng, made.long))
        assert read == made.scene and holds_all(read, made.asked), made
        assert not is_held_out(read)
    assert forms == set(FORMS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_named_is_said(language):
    voice = Voice(language, random.Random(2))
    words, where = WORDS[language], WHERE[language]
    for _ in range(200):
        wish = partial(random_scene(voice.rng), voice.rng)
        text = body(wish, voice).lower()
        for thing in wish.things:
            for name, value in thing.items():
                ways = where[value] if name == "place" else words[value]
                assert any(way[:4].lower() in text for way in ways), (text, value)
        for _, relation, _ in wish.relations:
            assert any(way in text for way in BESIDE[language][relation]), text
        if wish.ground:
            clauses = SETTINGS[wish.ground][LANGUAGES.index(language)] if wish.ground in SETTINGS else ()
            assert any(way in text for way in (*GROUNDS[language][wish.ground], *clauses)), text


def test_the_same_seed_makes_the_same_requests():
    texts = [[request(Voice("en", random.Random(seed))).text for _ in range(5)] for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


def test_another_scene_does_not_hold_what_was_asked():
    voice = Voice("en", random.Random(4))
    made = [request(voice, form="whole") for _ in range(30)]
    assert not any(holds_all(made[n].scene, made[n - 1].asked) for n in range(1, 30))


def test_held_out_pairs_are_in_requests_that_want_them():
    voice = Voice("en", random.Random(5))
    for _ in range(20):
        assert list(held_out_pairs(request(voice, 2, held_out=True).scene))


def test_a_negation_is_kept_even_where_it_is_what_people_expect():
    voice = Voice("en", random.Random(6))
    usual = 0
    for _ in range(40):
        made = request(voice, form="negated")
        assert made.asked.never and holds_all(made.scene, made.asked)
        plain = complete(made.asked.wish)
        usual += plain is None or not holds_all(plain, made.asked)
    assert usual >= 10


def test_what_is_left_open_is_as_people_expect():
    assert complete(Wish(({"kind": "boat"},))) == Scene("sea", "flat", (Thing("boat", "red"),))
    assert complete(Wish((STAR,))).ground == "navy" or complete(Wish((STAR,))).ground == "night sky"
    pair = complete(Wish(({"kind": "moon"}, {"kind": "tree"}), ((0, "above", 1),)))
    assert captions.canonical(pair).startswith("A medium yellow moon is at the top. A medium")


def test_the_same_wish_has_the_same_answer_and_an_impossible_one_has_none():
    wish = Wish(({"colour": "red"},))
    assert complete(wish, seed=1) == complete(wish, seed=1)
    assert len({complete(wish, seed=seed) for seed in range(20)}) > 2
    assert complete(Wish(({"kind": "star", "colour": "white"},), ground="snow")) is None


def test_verdicts_on_what_must_not_be_and_on_what_is_allowed():
    scene = as_reading(Scene("sea", "flat", (Thing("boat", "red"),)))
    asked = Asked(never=((0, "colour", "red"), (-1, "ground", "snow")), allowed={"kind": frozenset(("boat", "sun"))})
    found = verdict(scene, asked)
    assert found["never red"] is False and found["never snow"] and found["allowed kind"]
    assert Asked.from_json(asked.as_json()) == asked


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("mood", MOODS)
def test_vague_wishes_are_fulfilled(mood, language):
    voice = Voice(language, random.Random(7))
    for _ in range(4):
        made = vague(voice, mood)
        assert holds_all(made.scene, made.asked)
        assert set(made.asked.allowed) <= {"ground", "kind", "colour"}


def test_slips_leave_short_words_and_change_long_ones():
    rng = random.Random(8)
    assert slipped("a red sun", rng) == "a red sun"
    assert slipped("a butterfly", rng) != "a butterfly" and slipped("蓝色", rng, "zh") == "兰色"
