import random
from collections import Counter

import pytest

from llmga.toyworld.world import captions
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk.answers import description
from llmga.toyworld.world.talk.guesses import guess
from llmga.toyworld.world.talk.open_questions import open_question
from llmga.toyworld.world.talk.question_phrases import GUESSED, NO, OPEN, YES
from llmga.toyworld.world.talk.questions import describe, question
from llmga.toyworld.world.talk.voice import LANGUAGES, Voice

SCENE = Scene(
    "sea", "sketched", (Thing("boat", "red", "small", "striped", "left"), Thing("sun", "yellow", place="top"))
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", OPEN)
def test_answers_hold_the_truth_and_nothing_else(kind, language):
    voice = Voice(language, random.Random(0))
    found = [open_question(random_scene(voice.rng), voice, kind) for _ in range(40)]
    asked = [each for each in found if each]
    assert len(asked) > 5
    for each in asked:
        assert each.truth in each.answer and not any(other in each.answer for other in each.others), each


def test_the_answers_are_those_of_the_picture():
    said = {kind: open_question(Scene("sea", "sketched", SCENE.things[:1]), Voice("en", random.Random(1)), kind)
            for kind in OPEN}  # fmt: skip
    answers = {kind: each.answer for kind, each in said.items() if each}
    boat = SCENE.things[1] if SCENE.things[1].kind == "boat" else SCENE.things[0]
    assert boat.kind == "boat" or answers
    assert answers["ground"] == "The background is the sea." and answers["style"] == "The style is sketched."
    assert answers["things"] == "There is one thing."


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("right", (True, False))
@pytest.mark.parametrize("kind", GUESSED)
def test_yes_and_no_can_be_had_for_every_guess(kind, right, language):
    voice = Voice(language, random.Random(2))
    found = None
    for _ in range(400):
        found = guess(random_scene(voice.rng), voice, kind, right)
        if found:
            break
    assert found and found.truth == ("yes" if right else "no")
    begin = (YES if right else NO)[language]
    assert found.answer.startswith(begin) or (kind == "kind" and "没有" in found.answer)


@pytest.mark.parametrize("language", LANGUAGES)
def test_yes_and_no_are_in_balance(language):
    voice = Voice(language, random.Random(3))
    by_kind: dict[str, Counter] = {}
    for _ in range(1600):
        found = question(random_scene(voice.rng), voice)
        if found.truth in ("yes", "no"):
            by_kind.setdefault(found.kind, Counter())[found.truth] += 1
    total = sum(by_kind.values(), Counter())
    assert set(by_kind) == {f"is {kind}" for kind in GUESSED}
    assert 0.45 < total["yes"] / total.total() < 0.55
    for kind, counted in by_kind.items():
        assert counted.total() < 12 or 0.25 < counted["yes"] / counted.total() < 0.75, (kind, counted)


def test_descriptions_are_read_back_and_the_chinese_ones_tell_pictures_apart():
    rng = random.Random(4)
    scenes = [random_scene(rng) for _ in range(150)]
    assert all(captions.read(describe(scene, Voice("en", rng)).answer) == scene for scene in scenes)
    assert len({description(scene, "zh") for scene in scenes}) == len(set(scenes))
    assert (
        description(SCENE, "zh") == "上方有一个中等大小的黄色太阳。左边有一艘小的红色条纹船。背景是大海。风格是手绘。"
    )
