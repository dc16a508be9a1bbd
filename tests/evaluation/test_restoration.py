"""The protocol itself, on one mask a picture; the command's own five say the published figures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
from llmga.diffrir.restorers import load_restorer
from llmga.evaluation import restoration_scores as restoration
from llmga.evaluation.restoration import main
from llmga.evaluation.restoration_scores import (
    DAMAGES,
    METHODS,
    cases,
    evaluate,
    failed_bars,
    judge,
    photographs,
    shown,
)

TOY = Path(__file__).resolve().parents[2] / "checkpoints/Inference/llmga-toy-diffrir-x1"


@pytest.fixture(scope="module")
def table():
    return evaluate({name: METHODS[name] for name in ("paste", "match", "match+blend")}, ["blur+tone+jpeg"], masks=1)


def test_the_pictures_are_there_at_one_size():
    sizes = {name: picture.size for name, picture in photographs()}
    assert len(sizes) == 9 and set(sizes.values()) == {(400, 400)}


@pytest.mark.parametrize("damage", DAMAGES)
def test_cases_are_the_same_each_time(damage):
    first, again = (next(iter(cases(1, damage, seed=0))) for _ in range(2))
    assert first[0].tobytes() == again[0].tobytes() and np.array_equal(first[2], again[2])


def test_the_claims_hold(table):
    assert failed_bars(table) == []
    rows = table["blur+tone+jpeg"]
    assert rows["match"]["psnr"] > rows["paste"]["psnr"] + 4
    assert rows["match+blend"]["seam"] < rows["match"]["seam"] < rows["paste"]["seam"]
    assert "match+blend" in shown(table)


def test_a_claim_that_does_not_hold_is_told(table):
    worse = {"blur+tone+jpeg": {**table["blur+tone+jpeg"], "match": table["blur+tone+jpeg"]["paste"] | {"kept": 3}}}
    told = failed_bars(worse)
    assert len(told) == 2 and "must be above 34.0" in told[0] and "changes kept pixels by 3" in told[1]


def test_figures_are_what_they_say():
    truth, hole = Image.new("RGB", (20, 20), (100, 100, 100)), np.zeros((20, 20), dtype=bool)
    hole[5:15, 5:15] = True
    off = Image.composite(Image.new("RGB", (20, 20), (110, 100, 100)), truth, Image.fromarray(hole).convert("L"))
    figures = judge(off, truth, hole)
    assert figures["psnr"] == pytest.approx(10 * np.log10(255**2 * 3 / 100))
    assert figures["seam"] == pytest.approx(10 / 3)
    assert figures["shift"] == pytest.approx(10 / 3)
    assert figures["kept"] == 0


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_what_is_kept_and_repairs_nothing_that_is_whole(name):
    truth, _, hole = next(iter(cases(1, "tone", seed=0)))
    mask = Image.fromarray(hole).convert("L")
    output = METHODS[name](truth, truth, mask)
    assert np.array_equal(np.asarray(output)[~hole], np.asarray(truth)[~hole])
    assert np.abs(np.asarray(output).astype(int) - np.asarray(truth)).mean() < 1


def test_the_command_names_a_missed_claim(monkeypatch, capsys):
    monkeypatch.setitem(METHODS._rows, "match", load_restorer("none"))
    monkeypatch.setattr(restoration, "PICTURES", ("cat",))
    assert main(["--damage", "tone", "--masks", "1"]) == 1
    assert "missed: tone: match" in capsys.readouterr().err


def test_the_bundled_toy_beats_the_tone_fit_where_the_tone_drifts_and_where_detail_was_lost(monkeypatch):
    monkeypatch.setattr(restoration, "PICTURES", ("astronaut", "coffee", "rocket"))
    rows = {"match": METHODS["match"], "toy": load_restorer("diffrir-x1", TOY)}
    table = evaluate(rows, ["drift", "blur+tone+jpeg"], masks=1)
    assert table["drift"]["toy"]["psnr"] > table["drift"]["match"]["psnr"] + 0.5
    assert table["blur+tone+jpeg"]["toy"]["psnr"] > table["blur+tone+jpeg"]["match"]["psnr"] + 0.3
    assert all(figures["toy"]["kept"] == 0 and figures["toy"]["seam"] < 1.4 for figures in table.values())


def test_the_bundled_toy_is_small():
    assert sum(file.stat().st_size for file in TOY.iterdir()) < 8_000_000


def slow_drift(truth):
    """Warmer on one side and colder on the other by up to ten levels, as no single tone is."""
    height, width = truth.height, truth.width
    ramp = np.linspace(-10, 10, width)[None, :, None] * np.array([1, 0.2, -0.8])
    bend = 5 * np.sin(np.linspace(0, 3, height))[:, None, None] * np.array([0.4, -1, 0.6])
    return Image.fromarray((np.asarray(truth) + ramp + bend).round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("blend", ["match", "match+blend"])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "cat", "rocket"])
def test_colours_that_drift_slowly_are_levelled_and_not_made_worse(name, blend):
    truth = dict(photographs())[name].resize((200, 200))
    hole = np.zeros((200, 200), dtype=bool)
    hole[60:150, 40:130] = True
    painted, mask = slow_drift(truth), Image.fromarray(hole).convert("L")
    pasted, output = (judge(METHODS[each](painted, truth, mask), truth, hole) for each in ("paste", blend))
    assert output["psnr"] > pasted["psnr"] + 6 and output["shift"] < pasted["shift"] / 3 and output["kept"] == 0


@pytest.mark.parametrize("name", ["astronaut", "coffee", "cat", "rocket"])
def test_noise_alone_is_no_reason_to_change_a_painting(name):
    truth = dict(photographs())[name].resize((200, 200))
    hole = np.zeros((200, 200), dtype=bool)
    hole[60:150, 40:130] = True
    noisy = np.asarray(truth) + np.random.default_rng(0).normal(0, 20, (200, 200, 3))
    painted, mask = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)), Image.fromarray(hole).convert("L")
    pasted, output = (judge(METHODS[each](painted, truth, mask), truth, hole) for each in ("paste", "match"))
    assert output["psnr"] >= pasted["psnr"] - 0.05
