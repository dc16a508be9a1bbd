import random

import pytest
import torch

from llmga.llava.generation_prompt import START
from llmga.llava.templates import TEMPLATES
from llmga.llava.tokenization import IGNORED
from llmga.toyworld.world import language
from llmga.toyworld.world.language import Teaching, alike, conversation_of, drawn, encoded, in_words
from llmga.toyworld.world.learning import Learning, Pace
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk.dialogues import dialogue, speaker
from llmga.toyworld.world.talk.turns import Turn

PAIR = Scene("sea", "flat", (Thing("star", "red", "large", place="left"), Thing("sun", "yellow", place="right")))


@pytest.fixture(scope="module")
def tokenizer():
    return language.tokenizer_of_world(texts=400)


@pytest.fixture(scope="module")
def talk():
    return dialogue(speaker(random.Random(5), language.PLAN), 4, language.PLAN)


def test_a_shown_picture_stands_there_in_words():
    said = in_words(Turn("what is this?", "", "", "en", shown=(PAIR,)))
    assert said.startswith("[A large red star is on the left. A medium yellow sun is on the right. The back")
    assert said.endswith("The style is flat.]\nwhat is this?")


def test_a_covered_thing_is_not_told():
    said = in_words(Turn("a boat", "", "", "en", shown=(PAIR,), hidden=0))
    assert "star" not in said and "A large part on the left is covered." in said and "yellow sun" in said


def test_a_chinese_word_is_one_token_wherever_it_stands(tokenizer):
    for said in ("画一只绿色的蝴蝶", "绿色蝴蝶在右上角", "请画两只蝴蝶，绿色"):
        tokens = [tokenizer.decode([token]) for token in tokenizer(said).input_ids]
        assert {"绿色", "蝴蝶"} <= set(tokens) and "".join(tokens) == said


def test_single_turns_come_first(small, tokenizer):
    teaching = Teaching(small, tokenizer, Pace(steps=100, batch_size=400))
    for step, most in ((0, 1), (96, language.TAUGHT_TURNS)):
        teaching.loss(step)
        turns = [tokenizer.decode(one.ids).count("<|im_start|>user") for group in teaching.groups for one in group]
        assert sorted(turns)[len(turns) // 2] == 1 if most == 1 else max(turns) >= 3


def test_what_the_assistant_says_is_learnt_and_nothing_else(tokenizer, talk):
    learnt = encoded(conversation_of(talk), tokenizer)
    words = tokenizer.decode([label for label in learnt.labels if label != IGNORED])
    assert words == "".join(f"{turn.answer}<|im_end|>" for turn in talk)
    assert tokenizer.decode(learnt.ids) == TEMPLATES["qwen_2"].render(conversation_of(talk)).text
    last = encoded(conversation_of(talk), tokenizer, learnt=1)
    assert tokenizer.decode([x for x in last.labels if x != IGNORED]) == f"{talk[-1].answer}<|im_end|>"


def test_of_long_conversations_a_window_is_seen_as_the_product_shows_it(tokenizer, monkeypatch):
    monkeypatch.setattr(language, "LONG", 1.0)
    learnt = drawn(random.Random(1), tokenizer)
    text = tokenizer.decode(learnt.ids)
    assert text.count("<|im_start|>user") == language.TAUGHT_TURNS
    assert tokenizer.decode([x for x in learnt.labels if x != IGNORED]).count("<|im_end|>") == language.KNOWN_BEFORE
    assert START in text


def test_groups_are_alike_in_length_and_size(tokenizer):
    rng = random.Random(2)
    samples = [drawn(rng, tokenizer) for _ in range(80)]
    groups = alike(samples, 4)
    assert sum(map(len, groups)) == 80
    longest = [max(len(one.ids) for one in group) for group in groups]
    sizes = [sum(len(one.ids) for one in group) for group in groups]
    assert longest == sorted(longest) and max(sizes) < 1.5 * min(sizes)


@pytest.fixture
def small(monkeypatch, tokenizer):
    """A model of two narrow layers."""
    whole = language.Qwen2Config

    def config(**given):
        return whole(**given | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2})

    monkeypatch.setattr(language, "Qwen2Config", config)
    torch.manual_seed(0)
    return language.architecture(tokenizer)


def test_neighbours_and_padding_change_no_answer(small, tokenizer, talk):
    teaching = Teaching(small.eval(), tokenizer, language.PACE)
    short, long = encoded(conversation_of(talk[:1]), tokenizer), encoded(conversation_of(talk), tokenizer)
    alone, told = teaching.answers([short])
    together, both = teaching.answers([short, long])
    assert torch.equal(both[: len(told)], told)
    torch.testing.assert_close(together[: len(told)], alone, atol=1e-5, rtol=1e-4)


def test_it_learns_and_the_same_steps_give_the_same(small, tokenizer):
    state = {name: value.clone() for name, value in small.state_dict().items()}
    pace = Pace(steps=12, batch_size=900, lr=5e-3, adam_lr=5e-3, ema=0.9)
    losses = []
    for _ in range(2):
        small.load_state_dict(state)
        teaching = Teaching(small, tokenizer, pace)
        learning = Learning(small, pace, language.is_end)
        losses.append([learning.take(teaching.loss) for _ in range(9)])
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0] - 0.3
