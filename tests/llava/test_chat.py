"""A chat streams, remembers, and computes nothing twice."""

import json
import shutil
from dataclasses import replace
from itertools import islice

import pytest
import torch
from PIL import Image

from llmga.errors import UserError
from llmga.llava.chat import Chat, Sampling
from llmga.llava.conversation import Conversation
from llmga.llava.loading import load_mllm
from llmga.llava.streaming import StreamDecoder
from llmga.llava.templates import TEMPLATES
from tests.talks import Talk

GREEDY = Sampling(temperature=0, max_new_tokens=12)
RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (30, 40), "blue")


def fresh(mllm, conversation, sampling):
    """The answer to the last user turn of a conversation by full recomputation without a cache."""
    return mllm.tokenizer.decode(fresh_ids(mllm, conversation, sampling))


def fresh_ids(mllm, conversation, sampling):
    ids, images = mllm.encode(conversation, open_turn=True).input_ids, conversation.images()
    pixels = mllm.pixel_values(images) if images else None
    written = []
    for _ in range(sampling.max_new_tokens):
        with torch.inference_mode():
            out = mllm.model(input_ids=torch.tensor([ids + written]), pixel_values=pixels, use_cache=False)
        written.append(int(out.logits[0, -1].argmax()))
    return written


def test_an_answer_streams_and_enters_the_history(tiny_mllm):
    chat = Talk(Chat(tiny_mllm))
    pieces = list(chat.say("Hello", sampling=GREEDY))
    assert len(pieces) == 12
    assert [(turn.role, turn.text) for turn in chat.conversation.messages] == [
        ("user", "Hello"),
        ("assistant", "".join(pieces)),
    ]


def test_the_second_turn_reads_only_new_tokens_and_says_the_same(tiny_mllm, fed):
    chat = Talk(Chat(tiny_mllm))
    list(chat.say("What is this?", [RED], GREEDY))
    first = fed.copy()
    fed.clear()
    answer = "".join(chat.say("And this?", [BLUE], GREEDY))
    turn = tiny_mllm.encode(chat.conversation, open_turn=True)
    before = sum(tokens for tokens, _ in first)
    everything = len(turn.input_ids) - 12 - 1 - len(tiny_mllm.tokenizer("<|im_start|>assistant\n")["input_ids"])
    assert first[1:] == [(1, 0)] * 11
    assert fed == [(everything - before, 1)] + [(1, 0)] * 11
    chat.conversation = type(chat.conversation)(chat.conversation.messages[:-1])
    assert fresh(tiny_mllm, chat.conversation, GREEDY) == answer


def test_where_positions_come_to_mean_something_else_the_talk_is_read_again(fixtures, tmp_path, monkeypatch):
    """Phi-3 turns all positions by other angles once a sequence is longer than its first length."""
    golden = json.loads((fixtures / "phi3/golden.json").read_text())
    folder = shutil.copytree(fixtures / "phi3" / golden["checkpoint"], tmp_path / golden["checkpoint"])
    shutil.copytree(fixtures / "phi3" / golden["vision_tower"], tmp_path / golden["vision_tower"])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"original_max_position_embeddings": 60}))
    mllm = load_mllm(folder, device="cpu", dtype=torch.float32)
    mllm.stop_ids = frozenset()
    chat, asked = Talk(Chat(mllm)), Conversation().say("user", "What is this?", (RED,))
    lengths = [len(mllm.encode(asked, open_turn=True).input_ids) + new for new in (0, 40)]
    assert lengths[0] < 60 < lengths[1]
    chosen, choose = [], Sampling.choose
    monkeypatch.setattr(Sampling, "choose", lambda *given, random: chosen.append(choose(*given, random)) or chosen[-1])
    long = Sampling(temperature=0, max_new_tokens=40)
    list(chat.say("What is this?", [RED], long))
    assert chosen == fresh_ids(mllm, asked, long)
    chosen.clear()
    list(chat.edit(0, "Hi", sampling=GREEDY))  # and back below that length
    assert chosen == fresh_ids(mllm, Conversation().say("user", "Hi", (RED,)), GREEDY)


def test_a_turn_taken_back_and_another_picture_are_noticed(tiny_mllm):
    chat = Talk(Chat(tiny_mllm))
    list(chat.say("What is this?", [RED], GREEDY))
    chat.conversation = type(chat.conversation)()
    answer = "".join(chat.say("What is this?", [BLUE], GREEDY))
    assert answer == "".join(Talk(Chat(tiny_mllm)).say("What is this?", [BLUE], GREEDY))
    assert answer != "".join(Talk(Chat(tiny_mllm)).say("What is this?", [RED], GREEDY))


def test_a_seed_repeats_an_answer(tiny_mllm):
    def answer(seed):
        return "".join(Talk(Chat(tiny_mllm)).say("Hi", sampling=Sampling(1.0, 0.9, 20, seed)))

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_a_narrow_top_p_is_greedy(tiny_mllm):
    narrow = Sampling(temperature=1.0, top_p=1e-9, max_new_tokens=12)
    answers = {"".join(Talk(Chat(tiny_mllm)).say("Hi", sampling=sampling)) for sampling in (narrow, GREEDY)}
    assert len(answers) == 1


@pytest.mark.parametrize("pieces", [0, 1, 5])
def test_a_stopped_answer_closes_its_turn(tiny_mllm, pieces):
    chat, polls = Talk(Chat(tiny_mllm)), iter(range(100))
    said = "".join(chat.say("Hi", sampling=GREEDY, cancelled=lambda: next(polls) >= pieces))
    assert (len(said), chat.conversation.messages[-1].text) == (pieces, said)
    chat.conversation = type(chat.conversation)()
    whole = "".join(chat.say("Hi", sampling=GREEDY))
    answer = chat.say("Hi again", sampling=GREEDY)
    said = "".join(islice(answer, 3))
    answer.close()
    assert [turn.text for turn in chat.conversation.messages] == ["Hi", whole, "Hi again", said]
    assert fresh(tiny_mllm, chat.conversation.say("user", "So?"), GREEDY) == "".join(chat.say("So?", sampling=GREEDY))


@pytest.mark.parametrize("problem", [KeyboardInterrupt, RuntimeError])
def test_a_failure_while_reading_leaves_no_trace(tiny_mllm, problem):
    chat = Talk(Chat(tiny_mllm))
    list(chat.say("Hi", sampling=GREEDY))
    before = chat.conversation

    def fail(module, args, output):
        raise problem

    handle = tiny_mllm.model.model.language_model.layers[1].register_forward_hook(fail)
    with pytest.raises(problem):
        list(chat.say("More", sampling=GREEDY))
    handle.remove()
    assert chat.conversation is before
    assert "".join(chat.say("More", sampling=GREEDY)) == fresh(tiny_mllm, before.say("user", "More"), GREEDY)


def test_a_stop_token_ends_the_answer_unseen(tiny_mllm):
    chat = Talk(Chat(tiny_mllm))
    whole = "".join(chat.say("Hi", sampling=GREEDY))
    tiny_mllm.stop_ids = frozenset(tiny_mllm.tokenizer(whole[4])["input_ids"])
    short = "".join(Talk(Chat(tiny_mllm)).say("Hi", sampling=GREEDY))
    assert short == whole[: whole.index(whole[4])]


def test_the_oldest_turns_give_way(tiny_mllm, fed):
    tiny_mllm.context_length = 300
    chat = Talk(Chat(tiny_mllm))
    for index in range(6):
        list(chat.say(f"This is turn number {index}.", [RED] * (index == 0), GREEDY))
    assert len(chat.conversation.messages) == 12
    assert fed[-1] == (1, 0)
    assert chat._cache.get_seq_length() <= 300


def test_a_model_is_shown_as_many_turns_as_it_was_taught(tiny_mllm):
    talk = Talk(Chat(replace(tiny_mllm, taught_turns=3)))
    for index in range(5):
        list(talk.say(f"Turn {index}.", sampling=GREEDY))
    answer = talk.conversation.messages[-1].text
    assert len(talk.conversation.messages) == 10
    last = replace(talk.conversation, messages=talk.conversation.messages[4:-1])  # two exchanges and the question
    assert answer == fresh(tiny_mllm, last, GREEDY)


def test_a_message_longer_than_the_model_reads_is_refused(tiny_mllm):
    tiny_mllm.context_length = 200
    chat = Talk(Chat(tiny_mllm))
    with pytest.raises(UserError, match="the model reads at most 200"):
        list(chat.say("word " * 100))
    assert chat.conversation.messages == ()


def test_the_word_for_a_picture_is_only_a_word_without_one(tiny_mllm, fed):
    chat = Talk(Chat(tiny_mllm))
    list(chat.say("what does <image> mean?", sampling=GREEDY))
    assert fed[0][1] == 0
    assert tiny_mllm.image_token_id not in tiny_mllm.encode(chat.conversation).input_ids


@pytest.mark.parametrize(
    ("text", "images"), [("<image> and <image>", (RED,)), ("<image>", ()), ("<image>", (RED, BLUE))]
)
def test_markers_and_pictures_that_do_not_match_are_told_once(tiny_mllm, text, images):
    chat = Talk(Chat(tiny_mllm))
    assert list(chat.say(text, images, GREEDY))  # more markers than pictures are words, further pictures go in front
    chat.conversation = Conversation(system="<image>")
    with pytest.raises(UserError, match=f"{len(images) + 1} picture markers '<image>' but {len(images)} pictures"):
        list(chat.say("this", images, GREEDY))
    assert chat.conversation.messages == ()


def test_what_ended_an_answer_is_known(tiny_mllm, says):
    chat = Talk(Chat(tiny_mllm))
    list(chat.say("Hi", sampling=GREEDY))
    assert chat.ended_by == "limit"
    list(chat.say("Hi", sampling=GREEDY, cancelled=lambda: True))
    assert chat.ended_by == "caller"
    says("Hello")
    list(chat.say("Hi", sampling=GREEDY))
    assert chat.ended_by == "marker"


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.1}, {"max_new_tokens": 0}]
    + [{"seed": -1}],
)
def test_sampling_values_out_of_range_are_told(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} .* is out of range"):
        Sampling(**wrong)


def speak(mllm, mode, text, by_marker=False):
    decoder = StreamDecoder(mllm.tokenizer, TEMPLATES[mode])
    pieces = []
    for token in mllm.tokenizer(text)["input_ids"]:
        pieces.append(decoder.push(token))
        if decoder.ended:
            return pieces
    return [*pieces, decoder.close(by_marker)]


def test_a_character_of_several_tokens_comes_whole(tiny_mllm):
    assert speak(tiny_mllm, "qwen_2", "é日!") == ["", "é", "", "", "日", "!", ""]
    assert "".join(speak(tiny_mllm, "qwen_2", "日")[:2]) == ""


def test_an_end_marker_written_out_ends_the_answer(tiny_mllm):
    assert "".join(speak(tiny_mllm, "llava_v0", " Yes # ## no###Human: x")) == "Yes # ## no"
    assert "".join(speak(tiny_mllm, "qwen_2", "a <", by_marker=True)) == "a <"
    assert "".join(speak(tiny_mllm, "llama_2", " a ", by_marker=True)) == "a"
    assert "".join(speak(tiny_mllm, "llama_2", " a ")) == "a "
