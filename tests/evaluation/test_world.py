import json
import random

import numpy as np
import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.evaluation import world_scores as scores
from llmga.evaluation.world import main
from llmga.evaluation.world_scores import Marked, Share, judged, promised, ratio, report, shares, table, verdict
from llmga.evaluation.world_talk import Led, Pen, held, mask_of
from llmga.llava.planner import Planner
from llmga.toyworld.world import captions
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk.bars import BARS
from llmga.toyworld.world.talk.cases import as_json, cases
from llmga.toyworld.world.talk.holes import with_hole

STAR = Scene("sea", "flat", (Thing("star", "red", "large"),))


class Knowing(Planner):
    """Answers as a faultless planner does; keeps what it was asked."""

    def __init__(self, case):
        self.case, self.asked = case, []

    def _answer(self, conversation, sampling, cancelled):
        self.asked.append(conversation)
        yield self.case.turns[len(conversation.messages) // 2].answer


class Greeter(Planner):
    def _answer(self, conversation, sampling, cancelled):
        yield "Hello! "
        yield "What shall I paint?"


def test_the_pen_draws_what_a_prompt_states():
    pen = Pen()
    assert pen(captions.canonical(STAR)).tobytes() == draw(STAR).tobytes()
    gray, mask = Image.new("RGB", (96, 96), "gray"), Image.new("L", (96, 96))
    mask.paste(255, (0, 0, 96, 40))
    painted = np.asarray(pen(captions.canonical(STAR), gray, mask))
    assert (painted[40:] == 128).all() and (painted[:40] == np.asarray(draw(STAR))[:40]).all()
    with pytest.raises(UserError, match="'a red star' states no scene"):
        pen("a red star")


@pytest.mark.parametrize("bar", ["three things", "chinese", "own pictures", "two pictures", "fill", "story",
                                 "change back", "shown later", "refused"])  # fmt: skip
def test_a_faultless_planner_is_right_through_the_assistant(bar):
    for case in cases(bar, 2, seed=4):
        found = held(case, Knowing(case))
        assert set(found) == set(case.judged)
        assert all(all(marks.values()) for _, marks in found.values()), found


def test_who_only_greets_is_right_where_nothing_is_to_be_painted():
    for bar, right in (("small talk", True), ("one thing", False), ("yes", False)):
        made = [case for case in cases(bar, 4, seed=1) if case.turns[-1].language == "en"]
        assert [one.right for one in judged(bar, made, Greeter(), 0)] == [right] * len(made)


def test_long_conversations_go_on_as_they_were_taught():
    (case,) = cases("long conversation", 1)
    planner = Greeter()
    heard = []
    planner._answer = lambda asked, *rest: heard.append(asked) or iter(["Hello!"])
    marked = list(judged("long conversation", [case], planner, 0))
    assert [one.part.split(", ")[1] for one in marked] == ["turns 1-5"] * 5 + ["turns 25-30"] * 6
    told = heard[7].messages  # turn 27 is asked after 26 turns
    assert len(told) == 53 and told[51].text.split() == case.turns[25].answer.split()


def test_a_hidden_part_is_black_to_the_planner():
    (case,) = cases("fill", 1, seed=2)
    turn = case.turns[-1]
    planner = Knowing(case)
    held(case, planner)
    (seen,) = planner.asked[-1].images()
    covered = with_hole(turn.shown[0], turn.hidden, random.Random(0))
    assert np.asarray(seen).tobytes() == np.asarray(covered).tobytes()
    assert mask_of(turn).size == (96, 96)


def test_a_planner_is_heard_only_where_it_is_judged():
    (case,) = cases("change colour", 1)
    planner = Knowing(case)
    led = Led(planner, case)
    assert not led.heard and len(list(held(case, planner))) == 1 and len(planner.asked) == 1


def marked(part, *right):
    return [Marked(part, one, () if one else ("1: kind",), "", "", "") for one in right]


def test_kinds_of_change_are_counted_together():
    found = shares([*marked("change size", True, False), *marked("change back", True), *marked("yes", True)])
    assert found["all changes"] == Share(2, 3) and found["change size"] == Share(1, 2)
    assert promised("change size") == 0.75 and promised("all changes") == 0.88 and promised("story") is None


def test_verdicts_only_where_the_interval_allows_one():
    rows = report({"yes": Share(500, 500), "no": Share(400, 500), "chinese": Share(455, 500), "story": Share(1, 2)})
    assert [row["verdict"] for row in rows.values()] == ["held", "missed", "open", ""]
    assert rows["yes"]["low"] == 0.9924 and rows["no"]["high"] == 0.8327
    assert verdict(0.95, 1.0, 0.95) == "held" and verdict(0.9, 0.95, 0.95) == "open"


def test_drift_is_a_ratio_with_its_interval():
    value, low, high = ratio(Share(270, 300), Share(225, 250))
    assert value == pytest.approx(1.0) and low == pytest.approx(0.946, abs=2e-3) and high == pytest.approx(1 / low)
    rows = report({"long conversation, turns 25-30": Share(100, 300), "long conversation, turns 1-5": Share(225, 250)})
    assert rows["drift"]["verdict"] == "missed" and rows["drift"]["share"] == 0.3704
    assert "drift" in table(rows) and "100/300" in table(rows)


def test_the_command_writes_figures_and_misses_and_keeps_others(tmp_path, monkeypatch, capsys):
    def judge_bar(bar, model_path, made, seed):
        return [Marked(bar, number > 0, (), "p", "a", "k") for number in range(len(made))]

    monkeypatch.setattr(scores, "judge_bar", judge_bar)
    file, out, misses = tmp_path / "cases.jsonl", tmp_path / "scores.json", tmp_path / "misses.jsonl"
    with file.open("w", encoding="utf-8") as opened:
        for bar in ("yes", "no"):
            for number, case in enumerate(cases(bar, 3)):
                opened.write(json.dumps(as_json(bar, number, case), ensure_ascii=False) + "\n")
    common = ["--model-path", "m", "--cases", str(file), "--output", str(out)]
    assert main([*common, "--bars", "yes"]) == 0
    assert main([*common, "--bars", "no", "--misses", str(misses)]) == 0
    figures = json.loads(out.read_text())["figures"]
    assert {bar: (row["right"], row["of"]) for bar, row in figures.items()} == {"yes": (2, 3), "no": (2, 3)}
    assert len(misses.read_text().splitlines()) == 1 and "2/3" in capsys.readouterr().out
    assert main([*common, "--bars", "maybe"]) == 2
    assert "bar 'maybe' is unknown; known are yes, no" in capsys.readouterr().err


def test_every_promise_is_about_a_bar():
    assert set(scores.PROMISED) <= set(BARS)
