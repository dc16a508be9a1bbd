"""The planner's eyes: a CLIP vision tower, taught to say what is at every place of a picture.

Heads ask the patches that the language model will read what stands where, how it looks, and what is covered.  They are
thrown away.  `python -m llmga.toyworld.world eyes --output eyes` trains it and prints how well it sees.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from llmga.images import stretch_square
from llmga.toyworld.clip import disturb
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.layout import SIDE
from llmga.toyworld.world.learning import Figures, Learning, Pace, learn
from llmga.toyworld.world.reading import KINDS, LOOK, SLOTS, UNSEEN, accuracy, loss_of, truth
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import ATTRIBUTES, PLACES, SIZES, STYLES, Scene
from llmga.toyworld.world.talk.holes import with_hole

PACE = Pace(steps=1600, batch_size=64, lr=3e-3, adam_lr=3e-3, warmup=0.03, ema=0.99, bf16=True)
SELECT_LAYER = -1  # the last one is read: a layer more would cost and teach nothing
PATCH, WIDTH, LAYERS = 12, 192, 4
# Width and height of pictures that reach the tower stretched to a square, and how often.
SHAPES = {(SIDE, SIDE): 12, (72, 72): 3, (128, SIDE): 2, (SIDE, 128): 2, (144, SIDE): 1, (SIDE, 144): 1, (192, 192): 1}
HOLES = 0.12  # share of the pictures of which one thing is covered
NEAR = 0.2  # how far from a place's middle its heads look, before they learn, in parts of the side


class Seen(NamedTuple):
    """A picture as it was shown: the scene, and which of its things is covered."""

    scene: Scene
    hidden: int | None = None


def architecture() -> CLIPVisionModel:
    """1.6 M parameters, 64 patches of 12x12."""
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=WIDTH // 32,
            image_size=SIDE, patch_size=PATCH, projection_dim=WIDTH,
        )
    )  # fmt: skip
    # As loud as the patches: from the usual 0.02 a short training never finds out where things are.
    for name, weight in tower.named_parameters():
        if "position_embedding" in name:
            nn.init.normal_(weight, std=0.3)
    return tower


@cache
def processor() -> CLIPImageProcessorPil:
    """How pictures reach the tower."""
    return CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


class Heads(nn.Module):
    """For every place, and for what a bond puts to it, a learnt mean of the patches and a small network."""

    def __init__(self, width: int = WIDTH, hidden: int = 256, side: int = SIDE // PATCH):
        super().__init__()
        self.looks_at: nn.Parameter = nn.Parameter(_around_places(side))
        self.asked: nn.Parameter = nn.Parameter(torch.randn(SLOTS, hidden) * 0.3)
        self.norm: nn.LayerNorm = nn.LayerNorm(width)
        self.hidden: nn.Linear = nn.Linear(width, hidden)
        answers = {"kind": len(KINDS) + 1, "covered": len(SIZES) + 1} | {n: len(ATTRIBUTES[n]) for n in LOOK}
        self.answers: nn.ModuleDict = nn.ModuleDict({n: nn.Linear(hidden, count) for n, count in answers.items()})
        self.frame: nn.ModuleDict = nn.ModuleDict(
            {"ground": nn.Linear(width, len(GROUNDS)), "style": nn.Linear(width, len(STYLES))}
        )

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Logits (pictures, questions, answers) by name.

        Args:
            patches: (pictures, patches, width).
        """
        seen = self.norm(patches.float())
        found = self.looks_at.softmax(-1) @ seen
        hidden = nn.functional.gelu(self.hidden(found) + self.asked)
        whole = seen.mean(1, keepdim=True)
        return {name: answer(hidden) for name, answer in self.answers.items()} | {
            name: answer(whole) for name, answer in self.frame.items()
        }


def _around_places(side: int) -> Tensor:
    """(slots, patches): logits that look around the middles of the places, in their order, twice."""
    at = (torch.arange(side) + 0.5) / side
    places = torch.tensor([(row, column) for row in (0.2, 0.5, 0.8) for column in (0.2, 0.5, 0.8)])
    far = ((at[None, :, None] - places[:, :1, None]) ** 2 + (at[None, None] - places[:, 1:, None]) ** 2).flatten(1)
    return (-far / (2 * (NEAR / 2) ** 2)).repeat(SLOTS // len(PLACES), 1)


class Watcher(nn.Module):
    """Tower and heads."""

    def __init__(self) -> None:
        super().__init__()
        self.tower: CLIPVisionModel = architecture()
        self.heads: Heads = Heads()

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Answers about pictures as `normalised` gives them."""
        states = self.tower(pixels, output_hidden_states=True).hidden_states
        answers: dict[str, Tensor] = self.heads(states[SELECT_LAYER][:, 1:])
        return answers


def shown(seen: Seen, rng: random.Random) -> Image.Image:
    """A square picture of `SIDE`, which had another size or aspect before."""
    width, height = rng.choices(list(SHAPES), list(SHAPES.values()))[0]
    if seen.hidden is not None:
        return with_hole(seen.scene, seen.hidden, rng)
    picture = draw(seen.scene, width, height)
    return picture if picture.size == (SIDE, SIDE) else stretch_square(picture, SIDE)


def answers_of(seen: Sequence[Seen]) -> dict[str, Tensor]:
    """Right answers; a covered thing is not there.

    Where nothing is covered, only things are asked whether they are: black is no cover, and most places are empty.
    """
    right = truth([one.scene if one.hidden is None else without(one.scene, one.hidden) for one in seen])
    right.pop("count")
    covers = torch.full((len(seen), SLOTS), UNSEEN)
    for row, (scene, hidden) in enumerate(seen):
        if hidden is not None:
            covers[row, : len(PLACES)] = 0
        for number, thing in enumerate(scene.things):
            size = 1 + SIZES.index(thing.size) if number == hidden else 0
            covers[row, PLACES.index(thing.place)] = size
    return right | {"covered": covers}


def without(scene: Scene, hidden: int) -> Scene:
    """The scene, of whose things one is gone; no bond holds it."""
    return replace(scene, things=tuple(thing for number, thing in enumerate(scene.things) if number != hidden))


def random_view(rng: random.Random, held_out: bool = False) -> Seen:
    """A scene, some of them with one thing covered, where black is seen."""
    scene = random_scene(rng, held_out=held_out)
    covered = rng.random() < HOLES and not scene.bond and scene.ground != "black"
    return Seen(scene, rng.randrange(len(scene.things)) if covered else None)


def normalised(pictures: Iterable[Image.Image], generator: torch.Generator | None = None) -> Tensor:
    """Pixels (n, 3, side, side) as the processor gives them; with a generator, half of them disturbed."""
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
    x = pixels.float() / 255
    if generator is not None:
        clean = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
        x = torch.where(clean, x, disturb(pixels, generator))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor().image_mean, processor().image_std))
    return (x - mean) / std


class Teaching:
    """Pictures and right answers, step by step."""

    def __init__(self, watcher: Watcher, pace: Pace):
        self.watcher, self.pace = watcher, pace

    def loss(self, step: int) -> Tensor:
        """Of one step."""
        rng = random.Random(f"eyes {self.pace.seed_of(step)}")
        views = [random_view(rng) for _ in range(self.pace.batch_size)]
        pixels = normalised([shown(view, rng) for view in views], torch.Generator().manual_seed(rng.getrandbits(40)))
        return loss_of(self.watcher(pixels), answers_of(views))

    def judge(self, judged: int = 256) -> Figures:
        """Share of right answers on scenes of pairs that training never sees."""
        rng = random.Random(79)
        views = [random_view(rng, held_out=True) for _ in range(judged)]
        pixels, right = normalised([shown(view, rng) for view in views]), answers_of(views)
        parts = [self.watcher(some) for some in pixels.split(64)]
        return accuracy({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, right)


def is_end(name: str) -> bool:
    """Weights that AdamW steps: positions, questions, and the heads' last layers."""
    return (
        "position_embedding" in name
        or "asked" in name
        or "looks_at" in name
        or "heads.answers" in name
        or "heads.frame" in name
    )


def train(pace: Pace, folder: Path, judge_every: int = 200, until: int | None = None) -> CLIPVisionModel:
    """Train it; what lies in the folder is continued."""
    torch.manual_seed(pace.seed)
    watcher = Watcher()
    teaching = Teaching(watcher, pace)
    learn(Learning(watcher, pace, is_end), teaching.loss, folder, teaching.judge, judge_every, until)
    return watcher.tower


def save(tower: CLIPVisionModel, folder: Path) -> None:
    """A folder that stage 1 takes as its vision tower."""
    tower.save_pretrained(folder)
    processor().save_pretrained(folder)
