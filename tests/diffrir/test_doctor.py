"""The doctor of DiffRIR says what a step needs; `tests/evaluation/test_dry_run.py` holds it against a dry run."""

from dataclasses import replace

import pytest

from llmga.diffrir.train.config import PRESETS
from llmga.diffrir.train.doctor import main
from llmga.diffrir.train.planning import plan

TOY = PRESETS["toy-x1-s2-joint"]


def test_twice_the_pictures_are_twice_the_work():
    assert plan(replace(TOY, batch_size=4)).flops == pytest.approx(2 * plan(replace(TOY, batch_size=2)).flops, rel=0.01)


def test_a_judge_costs():
    assert plan(replace(TOY, objective="adversarial")).tensors > plan(TOY).tensors


def test_it_prints_a_line_a_way(capsys):
    assert main(["--preset", "toy-x1-s1", "--batch-size", "2"]) == 0
    assert "TFLOP a step: --batch-size 1" in capsys.readouterr().out
