"""The larger world's base language model: a small Qwen2 that learns its conversations as text.

A picture that somebody shows stands there in words, so that what is asked about pictures is understood before the first
one is seen.  `python -m llmga.toyworld.world language --output lm` trains it and prints how well it answers.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from llmga.llava.conversation import Conversation
from llmga.llava.templates import TEMPLATES
from llmga.llava.tokenization import IGNORED, encode
from llmga.llava.windows import windows
from llmga.toyworld.vocabulary import learn_chat
from llmga.toyworld.world.captions import frame_sentences, thing_sentences
from llmga.toyworld.world.learning import Figures, Learning, Pace, learn
from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk.dialogues import MOST_TURNS, Plan, conversation, dialogue, speaker
from llmga.toyworld.world.talk.lexicon import BESIDE, GROUNDS, WHERE, WORDS
from llmga.toyworld.world.talk.turns import Turn
from llmga.toyworld.world.talk.voice import TEST, TRAIN
from llmga.toyworld.world.words import PLACE_PHRASES

TAUGHT_TURNS = 6  # of longer conversations, a model is shown so many turns
PLAN, SHORT = Plan(turns=TAUGHT_TURNS), Plan(turns=1)
SHORT_AT_FIRST = 0.2  # of the steps: single turns teach the words quickest
CONV_MODE = "qwen_2"
LONGEST_WORD = 4  # Chinese characters; what is longer is said in words
MERGES, SPELT = 1800, 4000  # of the vocabulary, and texts that it is learnt from
PACE = Pace(steps=1300, batch_size=4000, lr=4e-3, adam_lr=4e-3, warmup=0.03, ema=0.99, bf16=True)  # a batch has tokens
BLOCK = 8  # steps whose conversations are drawn together and sorted by length
LONG = 0.08  # share of the conversations of which only a window is seen
KNOWN_BEFORE = 3  # answers at a window's end that can be told from it
NO_PICTURE = -1  # an id that no token has


class Learnt(NamedTuple):
    """A conversation as ids and labels; -100 where nothing is learnt."""

    ids: list[int]
    labels: list[int]


def in_words(turn: Turn) -> str:
    """What a person says, with the pictures as words before it."""
    return "".join(f"[{_seen(scene, turn.hidden)}]\n" for scene in turn.shown) + turn.person


def _seen(scene: Scene, hidden: int | None) -> str:
    """The canonical caption; a covered thing is not in it, and the place says that it is black."""
    if hidden is None:
        return " ".join([*thing_sentences(scene), *frame_sentences(scene)])
    covered = scene.things[hidden]
    things = tuple(thing for number, thing in enumerate(scene.things) if number != hidden)
    rest = Scene(scene.ground, scene.style, things)
    return " ".join(
        [
            *thing_sentences(rest),
            f"A {covered.size} part {PLACE_PHRASES[covered.place]} is covered.",
            *frame_sentences(rest),
        ]
    )


def conversation_of(turns: list[Turn]) -> Conversation:
    """The turns as the product keeps them."""
    said = Conversation()
    for turn in turns:
        said = said.say("user", in_words(turn)).say("assistant", turn.answer)
    return said


# Words of the world, else single characters: Chinese has no spaces, and merges would run from word to word.
_WORDS = {word for table in (WORDS, WHERE, BESIDE, GROUNDS) for row in table["zh"].values() for word in row}
_CHINESE = re.compile(
    "({}|[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef])".format(
        "|".join(sorted((word for word in _WORDS if len(word) <= LONGEST_WORD), key=len, reverse=True))
    )
)


def words_of(text: str) -> Iterator[str]:
    """A text in the pieces that tokens may not cross: every Chinese word, and what is between them as it is."""
    return filter(None, _CHINESE.split(text))


def tokenizer_of_world(seed: int = 0, texts: int = SPELT) -> Qwen2Tokenizer:
    """A tokenizer learnt from so many conversations; their frame stands in each once."""
    rng = random.Random(seed)
    render = TEMPLATES[CONV_MODE].render
    said = (render(conversation_of(conversation(speaker(rng, PLAN), PLAN))).text for _ in range(texts))
    return learn_chat(chain.from_iterable(map(words_of, said)), MERGES)


def architecture(tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    """About 4.7 M parameters, tied embeddings, grouped-query attention as in the small Qwen2 models."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=256, intermediate_size=640, num_hidden_layers=6,
            num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=4096, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0}, bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"), pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def encoded(said: Conversation, tokenizer: Qwen2Tokenizer, learnt: int | None = None) -> Learnt:
    """A conversation in ids; of its answers the last ones are learnt, or all."""
    rendered = TEMPLATES[CONV_MODE].render(said)
    if learnt is not None:
        rendered = replace(rendered, assistant_spans=rendered.assistant_spans[-learnt:])
    return Learnt(*vars(encode(rendered, tokenizer, NO_PICTURE, 0)).values())


def drawn(rng: random.Random, tokenizer: Qwen2Tokenizer, split: str = TRAIN, plan: Plan = PLAN) -> Learnt:
    """One conversation, or the window of a longer one."""
    voice = speaker(rng, plan, split)
    if plan == SHORT or rng.random() >= LONG:
        return encoded(conversation_of(conversation(voice, plan)), tokenizer)
    said = conversation_of(dialogue(voice, rng.randint(TAUGHT_TURNS + 1, MOST_TURNS)))
    asked, answer = Conversation(said.messages[:-1]), said.messages[-1].text
    return encoded(next(windows(asked, TAUGHT_TURNS)).say("assistant", answer), tokenizer, KNOWN_BEFORE)


def alike(samples: list[Learnt], groups: int) -> list[list[Learnt]]:
    """So many groups of samples of like length, with as many tokens each."""
    ordered = sorted(samples, key=lambda one: len(one.ids))
    share = sum(len(one.ids) for one in ordered) / groups
    found: list[list[Learnt]] = [[] for _ in range(groups)]
    before = 0
    for one in ordered:
        found[min(int(before / share), groups - 1)].append(one)
        before += len(one.ids)
    return found


def batch(samples: list[Learnt], padding: int) -> tuple[Tensor, Tensor]:
    """Ids and labels (samples, longest), padded at their ends, which none of their tokens sees."""
    longest = max(len(one.ids) for one in samples)
    ids = torch.tensor([one.ids + [padding] * (longest - len(one.ids)) for one in samples])
    labels = torch.tensor([one.labels + [IGNORED] * (longest - len(one.labels)) for one in samples])
    return ids, labels


class Teaching:
    """Conversations, step by step; none comes twice by design."""

    def __init__(self, model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, pace: Pace):
        self.model, self.tokenizer, self.pace = model, tokenizer, pace
        self.block: int | None = None
        self.groups: list[list[Learnt]] = []

    def loss(self, step: int) -> Tensor:
        """Of one step: the mean cross entropy of what the assistant says."""
        block, number = divmod(step, BLOCK)
        if block != self.block:
            self.block = block
            rng = random.Random(f"language {self.pace.seed_of(block)}")
            plan = SHORT if step < SHORT_AT_FIRST * self.pace.steps else PLAN
            self.groups = alike(self.samples(rng, BLOCK * self.pace.batch_size, plan=plan), BLOCK)
            rng.shuffle(self.groups)
        logits, target = self.answers(self.groups[number])
        return nn.functional.cross_entropy(logits.float(), target)

    def samples(self, rng: random.Random, tokens: int, split: str = TRAIN, plan: Plan = PLAN) -> list[Learnt]:
        """Fresh conversations of so many tokens together."""
        taken: list[Learnt] = []
        while tokens > 0:
            taken.append(drawn(rng, self.tokenizer, split, plan))
            tokens -= len(taken[-1].ids)
        return taken

    def answers(self, samples: list[Learnt]) -> tuple[Tensor, Tensor]:
        """Logits (n, vocabulary) of every token that the assistant says, and the tokens (n,)."""
        padding = self.tokenizer.pad_token_id
        assert isinstance(padding, int)
        ids, labels = batch(samples, padding)
        states = self.model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        spoken = labels[:, 1:] != IGNORED
        return self.model.lm_head(states[spoken]), labels[:, 1:][spoken]

    def judge(self, tokens: int = 24_000) -> Figures:
        """Loss and share of right tokens, in phrasings that training has and in those that it never sees."""
        figures: Figures = {}
        for split in (TRAIN, TEST):
            groups = alike(self.samples(random.Random(f"judged {split}"), tokens, split), 6)
            logits, target = (torch.cat(parts) for parts in zip(*map(self.answers, groups), strict=True))
            figures[f"{split} loss"] = nn.functional.cross_entropy(logits.float(), target).item()
            figures[f"{split} tokens"] = (logits.argmax(-1) == target).float().mean().item()
        return figures


def is_end(name: str) -> bool:
    """Weights that AdamW steps: the embeddings, which are the last layer, too."""
    return "embed_tokens" in name or "lm_head" in name


def train(
    pace: Pace, folder: Path, judge_every: int = 100, until: int | None = None
) -> tuple[Qwen2ForCausalLM, Qwen2Tokenizer]:
    """Train it; what lies in the folder is continued."""
    torch.manual_seed(pace.seed)
    tokenizer = tokenizer_of_world(pace.seed)
    model = architecture(tokenizer)
    teaching = Teaching(model, tokenizer, pace)
    learn(Learning(model, pace, is_end), teaching.loss, folder, teaching.judge, judge_every, until)
    return model, tokenizer


def save(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """A folder that stage 1 starts from."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
