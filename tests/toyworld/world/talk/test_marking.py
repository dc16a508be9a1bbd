from dataclasses import replace

import pytest

from llmga.toyworld.world import captions
from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.cases import BARS, cases
from llmga.toyworld.world.talk.marking import marks
from llmga.toyworld.world.talk.turns import Turn

BOAT = Scene("sea", "flat", (Thing("boat", "red"),))
PROMPT = captions.canonical(BOAT)
WISH = Turn("a red boat", f"Here it is. <gen_image> {PROMPT} </gen_image>", "request framed", "en", painted=(BOAT,),
            asked=(Asked(Wish(({"kind": "boat", "colour": "red"},), ground="sea")),))  # fmt: skip


@pytest.mark.parametrize("bar", BARS)
def test_a_faultless_planner_has_all_marks(bar):
    for case in cases(bar, 2, seed=3):
        for turn in case.turns:
            found = marks(turn, turn.answer)
            assert all(found.values()), (turn, found)


@pytest.mark.parametrize(("answer", "missed"), [
    ("Here it is.", {"prompts"}),
    (f"{WISH.answer} <gen_image> {PROMPT} </gen_image>", {"prompts"}),
    (WISH.answer.replace("red boat", "blue boat"), {"1: colour 1"}),
    (WISH.answer.replace("red boat", "red car"), {"1: kind 1"}),
    (WISH.answer.replace("the sea", "a snowy field"), {"1: ground"}),
    (WISH.answer.replace("The background is the sea. ", ""), {"read 1"}),
    (WISH.answer.replace("Here it is.", "画好了。"), {"language"}),
])  # fmt: skip
def test_what_is_wrong_is_marked(answer, missed):
    assert {claim for claim, held in marks(WISH, answer).items() if not held} == missed


@pytest.mark.parametrize(("truth", "others", "kind", "right", "wrong"), [
    ("yes", (), "question is colour", "Yes, the boat is red.", "No, the boat is red."),
    ("no", (), "question is kind", "No, there is no star.", "Yes, there is a star."),
    ("no", (), "question is kind", "No.", "Now there is a star."),
    ("red", ("blue", "green"), "question colour", "The boat is red.", "The boat is red or blue."),
    (PROMPT, (), "question describe", PROMPT, PROMPT.replace("red", "blue")),
])  # fmt: skip
def test_questions_are_marked_by_their_truth(truth, others, kind, right, wrong):
    turn = replace(WISH, kind=kind, painted=(), asked=(), truth=truth, others=others)
    assert marks(turn, right)["truth"] and not marks(turn, wrong)["truth"]


def test_chinese_answers_are_marked_alike():
    turn = replace(WISH, kind="question is kind", language="zh", painted=(), asked=(), truth="no")
    assert marks(turn, "不是，没有星星。")["truth"] and not marks(turn, "是的，有一颗星星。")["truth"]
    described = replace(turn, kind="question describe", truth="上方有一个太阳。")
    assert marks(described, "上方有一个太阳。")["truth"] and not marks(described, "下方有一个太阳。")["truth"]
