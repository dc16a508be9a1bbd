import csv
import random

import pytest
import torch

from llmga.toyworld.vocabulary import learn_clip
from llmga.toyworld.world import reading
from llmga.toyworld.world.learning import Pace
from llmga.toyworld.world.reading import KINDS, SLOTS, UNSEEN, Reader, Teaching, accuracy, loss_of, rows, said, truth
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import PLACES, Scene, Thing

RING, STAR = Thing("ring", "red", "large", place="left"), Thing("star", "blue", "small", place="left")
INSIDE = Scene("sea", "flat", (RING, STAR, Thing("sun", "yellow", "small", place="right")), "inside")


@pytest.fixture(scope="module")
def tokenizers():
    return learn_clip(reading.corpus(random.Random(0), 300))


@pytest.fixture(scope="module")
def teaching(tokenizers):
    torch.manual_seed(0)
    return Teaching(Reader(len(tokenizers[0])), tokenizers, Pace(steps=3, batch_size=4))


def test_truth_names_what_is_at_every_place():
    right = truth([INSIDE])
    there = {slot: KINDS[kind] for slot, kind in enumerate(right["kind"][0].tolist()) if kind < len(KINDS)}
    left, right_hand = PLACES.index("left"), PLACES.index("right")
    assert there == {left: "ring", right_hand: "sun", len(PLACES) + left: "star"}
    assert right["count"][0].sum() == 3
    assert (right["size"][0] != UNSEEN).sum() == 6  # each thing at its place and by its kind


def test_kinds_of_which_two_differ_have_no_look():
    pair = Scene("sea", "flat", (Thing("star", "red", place="left"), Thing("star", "blue", place="right")))
    right = truth([pair])
    assert right["colour"][0, SLOTS + KINDS.index("star")] == UNSEEN
    assert right["size"][0, SLOTS + KINDS.index("star")] == UNSEEN


def test_right_answers_are_all_right_and_a_wrong_one_is_counted():
    right = truth([INSIDE])
    sizes = {"kind": 25, "count": 4, "colour": 12, "size": 3, "pattern": 3, "ground": 19, "style": 3}
    answers = {
        name: 9.0 * torch.nn.functional.one_hot(right[name].clamp(min=0), n).float() for name, n in sizes.items()
    }
    assert set(accuracy(answers, right).values()) == {1.0} and loss_of(answers, right) < 0.05
    answers["kind"] = answers["kind"].roll(1, -1)
    assert accuracy(answers, right)["kind"] == 0.0 == accuracy(answers, right)["all"]


def test_some_kinds_have_no_name(monkeypatch):
    monkeypatch.setattr(reading, "NAMELESS", 1.0)
    said = reading.nameless("Two small red fish and a large blue star; butterflies, crosses.", random.Random(0))
    assert said == "Two small red thing and a large blue thing; thing, thing."


def test_texts_are_cut_as_the_pipeline_cuts_them(tokenizers):
    from llmga.diffusers.long_prompt import LAYOUTS, TextTower

    rng = random.Random(3)
    texts = [said(random_scene(rng, 3), wording, rng) for wording in reading.WORDINGS]
    for tokenizer in tokenizers:
        cut, there = rows(tokenizer, texts)
        encoder = Reader(len(tokenizer)).towers.one
        tower = TextTower(tokenizer, encoder)
        for row, exists, text in zip(cut, there, texts, strict=True):
            ids = tower.content(text)
            assert exists.sum() == tower.chunks(ids)
            assert row[exists].tolist() == tower.rows(ids, tower.chunks(ids), LAYOUTS["a1111"])


def test_states_are_those_that_an_sdxl_pipeline_reads(teaching, tokenizers):
    towers = teaching.reader.towers.eval()
    one, two = (rows(tokenizer, ["a red star"])[0][0] for tokenizer in tokenizers)
    with torch.no_grad():
        states, pooled = towers(one, two)
    assert states.shape == (1, 77, 2 * reading.WIDTH) and pooled.shape == (1, reading.POOLED)


def test_an_interrupted_training_ends_in_the_same_weights(tmp_path, monkeypatch):
    pace = Pace(steps=4, batch_size=4, ema=0.9, save_every=2)
    monkeypatch.setattr(reading, "corpus", lambda rng, size=0: ["a red star."] * 9)
    monkeypatch.setattr(Teaching, "judge", lambda self: {"all": 0.0})
    whole, _ = reading.train(pace, tmp_path / "whole")
    loss = Teaching.loss

    def dying(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return loss(self, step)

    monkeypatch.setattr(Teaching, "loss", dying)
    with pytest.raises(KeyboardInterrupt):
        reading.train(pace, tmp_path / "killed")
    monkeypatch.setattr(Teaching, "loss", loss)
    resumed, _ = reading.train(pace, tmp_path / "killed")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert [row["step"] for row in csv.DictReader((tmp_path / "killed" / "curve.csv").open())] == ["4"]


def test_reading_is_judged_in_every_wording(teaching):
    figures = teaching.judge(judged=4)
    assert {f"{wording} all" for wording in (*reading.WORDINGS, "pooled")} <= set(figures)
