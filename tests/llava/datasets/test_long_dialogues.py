"""Long dialogues are split at turns: every answer is learnt once, by the side of the pictures that it may be about."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.datasets import mixture as mixtures
from llmga.llava.datasets.long_dialogues import pieces
from llmga.llava.datasets.mixture import CUT, TOO_LONG, DataSource, Mixture
from llmga.llava.empty import load_empty_mllm
from llmga.llava.tokenization import IGNORED, Encoded, decode

RED, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
PICTURE = 999


def spell(conversation: Conversation) -> Encoded:
    """A token per character; a picture is four."""
    ids, labels = [], []
    for message in conversation.messages:
        said = [PICTURE] * 4 * len(message.images) + [ord(letter) for letter in message.text]
        ids += said
        labels += said if message.role == "assistant" else [IGNORED] * len(said)
    return Encoded(ids, labels)


def learnt(encoded: Encoded) -> str:
    return "".join(chr(label) for label in encoded.labels if label != IGNORED)


def talk(*answers: str) -> Conversation:
    told = Conversation(system="Rhyme.")
    for number, answer in enumerate(answers):
        told = told.say("user", "q", {0: (RED,), 2: (BLUE,)}.get(number, ())).say("assistant", answer)
    return told


def test_every_answer_is_in_one_piece_with_the_pictures_before_it():
    whole = talk("aaaa", "bbbb", "cccc", "dddd", "eeee")
    parts = list(pieces(whole, spell, 20))
    assert [learnt(spell(part)) for part in parts] == ["aaaabbbb", "ccccdddd", "eeee"]
    assert [part.images() for part in parts] == [(RED,), (RED, BLUE), (RED, BLUE)]
    assert {part.system for part in parts} == {"Rhyme."}
    assert parts[1].messages[0].marked_text() == "<image>\n<image>\nq"
    assert max(len(spell(part).input_ids) for part in parts) <= 20
    assert list(pieces(whole, spell, 500)) == [whole]


def test_an_exchange_that_is_too_long_by_itself_stands_alone():
    parts = list(pieces(talk("a", "b" * 90, "c"), spell, 30))
    assert [learnt(spell(part)) for part in parts] == ["a", "b" * 90, "c"]


@pytest.mark.parametrize("folder", ["qwen2/llmga-Qwen2-0.5B-tiny", "llama/llmga-vicuna-7b-v1.5-tiny"])
def test_labels_of_the_pieces_are_those_of_the_whole(folder, fixtures):
    """With a real vocabulary: what is learnt of the pieces, one after the other, is what the whole would teach."""
    mllm = load_empty_mllm(fixtures / folder, conv_mode="qwen_2" if "qwen2" in folder else "v1")
    whole = talk(*(f"Answer {number}, «é» 猫 {'word ' * number}" for number in range(12)))
    shortest = len(mllm.encode(talk("Answer 11, «é» 猫 " + "word " * 11)).input_ids)
    parts = list(pieces(whole, mllm.encode, shortest + 2 * mllm.tokens_per_image + 40))
    assert len(parts) > 2

    def taught(conversation: Conversation) -> list[int]:
        return [label for label in mllm.encode(conversation).labels if label != IGNORED]

    assert [token for part in parts for token in taught(part)] == taught(whole)
    assert decode(taught(parts[-1]), mllm.tokenizer).count("Answer 11") == 1


@pytest.fixture
def dialogues(tmp_path) -> Callable[..., Mixture]:
    """`dialogues(long, …)`: three long dialogues about a picture and a short one."""
    RED.save(tmp_path / "a.png")

    def said(answers: list[str]) -> dict:
        turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": answers[0]}]
        for answer in answers[1:]:
            turns += [{"from": "human", "value": "And?"}, {"from": "gpt", "value": answer}]
        return {"image": "a.png", "conversations": turns}

    rows = [said([letter * 30 for letter in letters]) for letters in ("abcd", "efgh", "ijkl")] + [said(["z"])]
    (tmp_path / "a.json").write_text(json.dumps(rows))

    def opened(long: str, max_length: int = 90) -> Mixture:
        source = DataSource("vqa", str(tmp_path / "a.json"), str(tmp_path))
        return Mixture([source], spell, image_token_id=PICTURE, tokens_per_image=4, max_length=max_length, long=long)

    return opened


def test_a_source_of_long_dialogues_gives_a_sample_for_each_piece(dialogues):
    data = dialogues("split")
    assert data.rows.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 2, 0], [0, 2, 1], [0, 3, 0]]
    assert [learnt(data[key])[::30] for key in range(7)] == ["ab", "cd", "ef", "gh", "ij", "kl", "z"]
    assert all(data[key].images for key in range(7)) and data.skipped.counts() == {}
    assert data.lengths().min() > 0
    assert [learnt(dialogues("split")[key]) for key in range(7)] == [learnt(data[key]) for key in range(7)]


def test_what_is_cut_or_left_out_is_counted(dialogues):
    cut = dialogues("cut")
    assert len(cut) == 4 and len(cut[0].input_ids) == 90 and cut.skipped.counts() == {CUT: 1}
    drop = dialogues("drop")
    assert learnt(drop[0]) == "z" and drop.skipped.counts() == {TOO_LONG: 3}


def test_all_pieces_of_a_dialogue_are_held_out_or_none(dialogues):
    train, held_out = dialogues("split").split(0.2)
    assert not {*train.rows[:, 1].tolist()} & {*held_out.rows[:, 1].tolist()}
    assert len(train) + len(held_out) == 7
    with pytest.raises(UserError, match="pieces of every dialogue, which leaves nothing to train on"):
        dialogues("split").split(0.9)


def test_pieces_are_counted_once_and_kept(dialogues, monkeypatch):
    first = dialogues("split").rows
    monkeypatch.setattr("llmga.llava.datasets.long_dialogues._count", lambda *told: pytest.fail("counted again"))
    assert np.array_equal(dialogues("split").rows, first)
    with pytest.raises(pytest.fail.Exception, match="counted again"):
        dialogues("split", max_length=91)


def test_more_tokens_than_were_foreseen_are_a_loss_that_is_counted(dialogues, monkeypatch):
    monkeypatch.setattr(mixtures, "plan", lambda source, records, *_, **__: np.ones(len(records), np.int32))
    data = dialogues("split")
    assert (learnt(data[0])[::30], data.skipped.counts()) == ("ab", {CUT: 1})
