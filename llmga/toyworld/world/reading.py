"""SDXL's two text towers, taught to read: from a caption's tokens they say what stands where.

A painter that starts from blind towers has to learn to read and to paint at once.  Here heads ask the tokens what the
UNet's cross attention will ask, "what is at this place?" and "how does this kind look?", by one attention each, so
that whatever belongs together is found at one token.  The heads are thrown away.
`python -m llmga.toyworld.world towers --output towers` trains both and prints how well they read.
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from llmga.toyworld.vocabulary import learn_clip
from llmga.toyworld.world.captions import canonical
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.learning import Figures, Learning, Pace, learn
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import ATTRIBUTES, MOST_THINGS, PLACES, STYLES, Scene
from llmga.toyworld.world.wordings import detailed, short
from llmga.toyworld.world.words import plural

PACE = Pace(steps=2400, batch_size=48, lr=3e-3, adam_lr=3e-3, ema=0.99)
WIDTH, LAYERS, POOLED = 64, 4, 128
LOOK = ("colour", "size", "pattern")
KINDS = ATTRIBUTES["kind"]
SLOTS = 2 * len(PLACES)  # at every place a thing, and one that a bond puts to it
NOTHING_WEIGHT = 0.5  # most places are empty
NAMELESS = 0.15  # of the kinds in a caption that towers learn from
UNSEEN = -100  # what cross entropy leaves out
WORDINGS = ("canonical", "short", "detailed")


def corpus(rng: random.Random, size: int = 6000) -> list[str]:
    """Sentences that the vocabulary has to spell well."""
    scenes = [random_scene(rng) for _ in range(size)]
    return [said(scene, wording, rng) for scene in scenes for wording in WORDINGS]


def said(scene: Scene, wording: str, rng: random.Random) -> str:
    """The caption of a scene in one of `WORDINGS`."""
    if wording == "canonical":
        return canonical(scene)
    return detailed(scene, rng) if wording == "detailed" else short(scene, rng)


_KIND = re.compile(rf"\b({'|'.join([*KINDS, *map(plural, KINDS)])})\b", re.IGNORECASE)


def nameless(text: str, rng: random.Random) -> str:
    """The caption with some kinds called "thing".

    Colours and patterns are then read without the kind; or towers learn which of them a kind never had, and misread
    the pairs that are held out.
    """
    return _KIND.sub(lambda found: "thing" if rng.random() < NAMELESS else found.group(), text)


def rows(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Texts as chunks of 77 ids, as `long_prompt` cuts them: (texts, chunks, 77), and which chunks exist."""
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    length = tokenizer.model_max_length
    cut = []
    for ids in tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False).input_ids:
        parts = [ids[start : start + length - 2] for start in range(0, max(1, len(ids)), length - 2)]
        cut.append([[bos, *part, eos, *[pad] * (length - 2 - len(part))] for part in parts])
    most = max(map(len, cut))
    empty = [bos, eos, *[pad] * (length - 2)]
    filled = torch.tensor([[*chunks, *[empty] * (most - len(chunks))] for chunks in cut])
    return filled, torch.arange(most) < torch.tensor([len(chunks) for chunks in cut])[:, None]


class Towers(nn.Module):
    """Tower one, tower two with its projection; 0.27 M parameters each.  Both read the same vocabulary."""

    def __init__(self, vocabulary: int):
        super().__init__()
        settings: dict[str, Any] = {
            "vocab_size": vocabulary, "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH,
            "num_hidden_layers": LAYERS, "num_attention_heads": 4, "max_position_embeddings": 77,
            "projection_dim": POOLED, "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        }  # fmt: skip
        self.one: CLIPTextModel = CLIPTextModel(CLIPTextConfig(**settings))
        self.two: CLIPTextModelWithProjection = CLIPTextModelWithProjection(CLIPTextConfig(**settings))
        for name, weight in self.one.named_parameters():  # what lies behind the layer that is read learns nothing
            weight.requires_grad_(f"layers.{LAYERS - 1}." not in name and "final_layer_norm" not in name)

    def forward(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """What SDXL's UNet is given.

        Args:
            one, two: (rows, 77) ids of both tokenizers, which differ in their padding.

        Returns:
            (rows, 77, 2 * width) of the last layer but one, and (rows, pooled).
        """
        first = self.one(one, output_hidden_states=True)
        second = self.two(two, output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1), second.text_embeds


class Questions(nn.Module):
    """One attention over the tokens for every place and every kind, and one for the frame."""

    def __init__(self, width: int = 128):
        super().__init__()
        self.asked: nn.Parameter = nn.Parameter(torch.randn(SLOTS + len(KINDS) + 1, width) * 0.5)
        self.norm: nn.LayerNorm = nn.LayerNorm(2 * WIDTH)
        self.attention: nn.MultiheadAttention = nn.MultiheadAttention(
            width, 4, kdim=2 * WIDTH, vdim=2 * WIDTH, batch_first=True
        )
        self.hidden: nn.Sequential = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.answers: nn.ModuleDict = nn.ModuleDict(
            {"kind": nn.Linear(2 * width, len(KINDS) + 1), "count": nn.Linear(2 * width, MOST_THINGS + 1)}
            | {name: nn.Linear(2 * width, len(ATTRIBUTES[name])) for name in LOOK}
            | {"ground": nn.Linear(2 * width, len(GROUNDS)), "style": nn.Linear(2 * width, len(STYLES))}
        )

    def forward(self, states: Tensor, absent: Tensor) -> dict[str, Tensor]:
        """Logits by name: `kind`, `count` and the frame for their own questions, looks for places and kinds.

        Args:
            states: (batch, tokens, 2 * width).
            absent: bool (batch, tokens).
        """
        keys = self.norm(states)
        found = self.attention(self.asked.expand(len(states), -1, -1), keys, keys, absent, need_weights=False)[0]
        hidden = self.hidden(found + self.asked)
        things, kinds, frame = hidden[:, :SLOTS], hidden[:, SLOTS:-1], hidden[:, -1:]
        of = {"kind": things, "count": kinds, "ground": frame, "style": frame}
        return {name: answer(of.get(name, hidden[:, :-1])) for name, answer in self.answers.items()}


class Summary(nn.Module):
    """The same answers for places and frame, and how many of every kind there are, from the pooled vector alone."""

    def __init__(self, width: int = 384):
        super().__init__()
        self.sizes: dict[str, tuple[int, int]] = (
            {"kind": (SLOTS, len(KINDS) + 1), "count": (len(KINDS), MOST_THINGS + 1)}
            | {name: (SLOTS, len(ATTRIBUTES[name])) for name in LOOK}
            | {"ground": (1, len(GROUNDS)), "style": (1, len(STYLES))}
        )
        self.hidden: nn.Sequential = nn.Sequential(nn.LayerNorm(POOLED), nn.Linear(POOLED, width), nn.GELU())
        self.answers: nn.ModuleDict = nn.ModuleDict(
            {name: nn.Linear(width, a * b) for name, (a, b) in self.sizes.items()}
        )

    def forward(self, pooled: Tensor) -> dict[str, Tensor]:
        """Logits (batch, questions, answers)."""
        hidden = self.hidden(pooled)
        return {name: answer(hidden).unflatten(-1, self.sizes[name]) for name, answer in self.answers.items()}


class Reader(nn.Module):
    """Both towers and the heads that ask them."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.towers: Towers = Towers(vocabulary)
        self.questions: Questions = Questions()
        self.summary: Summary = Summary()

    def forward(self, one: Tensor, two: Tensor, there: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Answers from the tokens of all chunks, and from the pooled vector of the first.

        Args:
            one, two: (batch, chunks, 77).
            there: bool (batch, chunks).
        """
        states, pooled = self.towers(one.flatten(0, 1), two.flatten(0, 1))
        batch, chunks, length = one.shape
        states = states.unflatten(0, (batch, chunks)).flatten(1, 2)
        absent = ~there.repeat_interleave(length, 1)
        return self.questions(states, absent), self.summary(pooled.unflatten(0, (batch, chunks))[:, 0])


def truth(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Right answers (scenes, questions); `UNSEEN` where there is nothing to say.

    Looks: of the thing at every place, then of every kind, unless things of a kind differ.
    """
    answers = {name: torch.full((len(scenes), SLOTS + len(KINDS)), UNSEEN) for name in LOOK}
    answers["kind"] = torch.full((len(scenes), SLOTS), len(KINDS))
    answers["count"] = torch.zeros((len(scenes), len(KINDS)), dtype=torch.long)
    answers["ground"] = torch.tensor([[GROUNDS.index(scene.ground)] for scene in scenes])
    answers["style"] = torch.tensor([[STYLES.index(scene.style)] for scene in scenes])
    for row, scene in enumerate(scenes):
        for number, thing in enumerate(scene.things):
            slot = PLACES.index(thing.place) + len(PLACES) * (bool(scene.bond) and number == 1)
            kind = KINDS.index(thing.kind)
            alike = all(other.look == thing.look for other in scene.things if other.kind == thing.kind)
            answers["kind"][row, slot] = kind
            answers["count"][row, kind] += 1
            for name in LOOK:
                value = ATTRIBUTES[name].index(getattr(thing, name))
                answers[name][row, slot] = value
                answers[name][row, SLOTS + kind] = value if alike else UNSEEN
    return answers


def loss_of(answers: dict[str, Tensor], right: dict[str, Tensor]) -> Tensor:
    """Sum of the cross entropies; a summary answers for places only."""
    total = torch.zeros(())
    for name, logits in answers.items():
        target = right[name][:, : logits.shape[1]]
        weight = torch.ones(logits.shape[-1])
        if name in ("kind", "count"):
            weight[len(KINDS) if name == "kind" else 0] = NOTHING_WEIGHT
        total = total + nn.functional.cross_entropy(logits.float().flatten(0, 1), target.flatten(), weight)
    return total


def is_end(name: str) -> bool:
    """Weights that AdamW steps: embeddings, questions, and the heads' last layers."""
    return "embedding" in name or "asked" in name or ".answers." in name


class Teaching:
    """Captions and right answers, step by step."""

    def __init__(self, reader: Reader, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], pace: Pace):
        self.reader, self.tokenizers, self.pace = reader, tokenizers, pace

    def loss(self, step: int) -> Tensor:
        """Of one step; long captions in smaller batches, which cost the same."""
        rng = random.Random(self.pace.seed_of(step))
        wording = WORDINGS[step % 3]
        scenes = [random_scene(rng) for _ in range(self.pace.batch_size // (1 + (wording == "detailed")))]
        right = truth(scenes)
        one, two, there = self._read([nameless(said(scene, wording, rng), rng) for scene in scenes])
        used = int((one != self.tokenizers[0].pad_token_id).sum(-1).max()) + 4  # some padding, as there will be
        asked, summed = self.reader(one[..., :used], two[..., :used], there)
        # What its first chunk does not tell, the pooled vector cannot know.
        return loss_of(asked, right) + (wording != "detailed") * loss_of(summed, right)

    def judge(self, judged: int = 192) -> Figures:
        """Share of right answers about things on scenes of pairs that training never sees."""
        rng = random.Random(73)
        figures: Figures = {}
        scenes = [random_scene(rng, held_out=True) for _ in range(judged)]
        right = truth(scenes)
        for wording in WORDINGS:
            asked, summed = self.reader(*self._read([said(scene, wording, rng) for scene in scenes]))
            figures |= {f"{wording} {name}": share for name, share in accuracy(asked, right).items()}
            if wording == "canonical":
                figures |= {f"pooled {name}": share for name, share in accuracy(summed, right).items()}
        return figures

    def _read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        (one, there), (two, _) = (rows(tokenizer, texts) for tokenizer in self.tokenizers)
        return one, two, there


def accuracy(answers: dict[str, Tensor], right: dict[str, Tensor]) -> Figures:
    """By attribute, over what is there; `all`: whole scenes without a mistake, empty places included."""
    figures, perfect = {}, torch.ones(len(right["kind"]), dtype=torch.bool)
    for name, logits in answers.items():
        target = right[name][:, : SLOTS if name in LOOK else None]
        hit = logits[:, : target.shape[1]].argmax(-1) == target
        asked = target != {"kind": len(KINDS), "count": 0}.get(name, UNSEEN)
        figures[name] = hit[asked].float().mean().item()
        perfect &= (hit | (target == UNSEEN)).all(1)
    return figures | {"all": perfect.float().mean().item()}


def train(pace: Pace, folder: Path, judge_every: int = 300) -> tuple[Towers, tuple[CLIPTokenizer, CLIPTokenizer]]:
    """Train both; what lies in the folder is continued."""
    torch.manual_seed(pace.seed)
    tokenizers = learn_clip(corpus(random.Random(pace.seed)))
    reader = Reader(len(tokenizers[0]))
    teaching = Teaching(reader, tokenizers, pace)
    learn(Learning(reader, pace, is_end), teaching.loss, folder, teaching.judge, judge_every)
    return reader.towers, tokenizers


def save(towers: Towers, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], folder: Path) -> None:
    """The four folders of an SDXL pipeline."""
    towers.one.save_pretrained(folder / "text_encoder")
    towers.two.save_pretrained(folder / "text_encoder_2")
    for tokenizer, name in zip(tokenizers, ("tokenizer", "tokenizer_2"), strict=True):
        tokenizer.save_pretrained(folder / name)
