"""The check of a machine: every path gives the same twice, a wrong one fails, and the report says what is there."""

from pathlib import Path

import numpy as np
import pytest

from llmga.evaluation.selfcheck import PATHS, main
from llmga.evaluation.selfcheck_paths import CHECKS, Place
from llmga.evaluation.selfcheck_report import Result, compared, difference

CPU = Place("cpu", "fp32")


def test_every_path_can_be_asked_for():
    assert tuple(CHECKS) == PATHS


@pytest.mark.parametrize("name", PATHS)
def test_a_path_gives_the_same_twice(name):
    found = compared(name, CPU)
    assert (found.problem, found.good) == ("", True)
    assert found.difference < 1e-6


@pytest.mark.slow
def test_this_machine_passes_in_another_format(capsys, tmp_path):
    assert main(["--device", "cpu", "--dtype", "bf16", "--report", str(tmp_path / "report.md")]) == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "report.md").read_text() == shown
    assert f"{len(PATHS)} of {len(PATHS)} paths pass on cpu in bf16" in shown
    assert "CPU threads" in shown and "torch 2" in shown


def test_a_path_that_is_wrong_or_breaks_fails(capsys, monkeypatch):
    def wrong(place: Place) -> np.ndarray:
        return np.ones(3) if place.dtype == "fp32" else np.full(3, 1.2)

    def broken(place: Place) -> np.ndarray:
        raise ValueError("no kernel | for this")

    monkeypatch.setitem(CHECKS._rows, "restoring", wrong)
    monkeypatch.setitem(CHECKS._rows, "planner", broken)
    assert main(["--device", "cpu", "--only", "restoring", "planner"]) == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows[-2].startswith("| restoring | 0.2 | 0.1 |") and "**fail**" in rows[-2]
    assert rows[-1].startswith("| planner | nan | 0.1 |") and "no kernel / for this" in rows[-1]


def test_no_number_is_no_pass():
    assert not Result("planner", 0.1, difference(np.array([np.nan]), np.ones(1))).good
    assert difference(np.ones(3), np.ones(2)) == float("inf")


@pytest.mark.parametrize("flags", [["--device", "cuda:99"], ["--only", "nothing"]])
def test_what_is_not_there_is_told(flags, capsys, tmp_path: Path):
    assert main(flags) == 2
    assert capsys.readouterr().err.startswith("error: ")
