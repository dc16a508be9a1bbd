"""A painter's pictures, judged by the oracle while it learns."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import Tensor

from llmga.toyworld.world.captions import canonical
from llmga.toyworld.world.judging import Wish, judge
from llmga.toyworld.world.learning import Figures
from llmga.toyworld.world.oracle import read
from llmga.toyworld.world.painter import Texts, conditions, sampler
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import ATTRIBUTES, Scene
from llmga.toyworld.world.sheet import contact_sheet

STEPS, GUIDANCE = 20, 3.0
SHOWN = 12


@torch.no_grad()
def paint(
    unet: UNet2DConditionModel,
    texts: Texts,
    vae: AutoencoderKL,
    captions: Sequence[str],
    seed: int = 0,
    steps: int = STEPS,
    bf16: bool = True,
) -> list[Image.Image]:
    """Pictures for captions, with classifier-free guidance, as the stock pipeline samples them."""
    generator = torch.Generator().manual_seed(seed)
    shape: Any = unet.config
    latents = torch.randn((len(captions), shape.in_channels, shape.sample_size, shape.sample_size), generator=generator)
    states, pooled = texts(["" for _ in captions] + list(captions))
    scheduler: Any = sampler()
    scheduler.set_timesteps(steps)
    for time in scheduler.timesteps:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            said = unet(latents.repeat(2, 1, 1, 1), time, states, added_cond_kwargs=conditions(pooled)).sample
        without, with_text = said.float().chunk(2)
        latents = scheduler.step(without + GUIDANCE * (with_text - without), time, latents).prev_sample
    return [picture for some in latents.split(16) for picture in pictures(vae, some)]


def pictures(vae: AutoencoderKL, latents: Tensor) -> list[Image.Image]:
    """Latents decoded."""
    decoded = vae.decode(latents).sample.clamp(-1, 1).permute(0, 2, 3, 1)
    return [Image.fromarray(each) for each in ((decoded + 1) * 127.5).round().numpy().astype(np.uint8)]


def shares(painted: Sequence[Image.Image], scenes: Sequence[Scene]) -> Figures:
    """By attribute the share of things that have it right; `all`: pictures without a mistake, debris aside."""
    verdicts = [judge(read(picture), Wish.of(scene)) for picture, scene in zip(painted, scenes, strict=True)]
    figures = {}
    for name in (*ATTRIBUTES, "relation", "ground", "style", "count", "clean"):
        found = [hit for verdict in verdicts for claim, hit in verdict.items() if claim.split()[0] == name]
        if found:
            figures[name] = sum(found) / len(found)
    right = [all(hit for claim, hit in verdict.items() if claim != "clean") for verdict in verdicts]
    return figures | {"all": sum(right) / len(right)}


class Judge:
    """Paints new scenes of one thing and of two, and leaves a sheet of them."""

    def __init__(self, unet: UNet2DConditionModel, texts: Texts, vae: AutoencoderKL, judged: int, folder: Path):
        self.unet, self.texts, self.vae, self.folder = unet, texts, vae, folder
        rng = random.Random(79)
        self.scenes = {count: [random_scene(rng, count, held_out=None) for _ in range(judged)] for count in (1, 2)}

    def __call__(self) -> Figures:
        """Figures named `1 kind` to `2 all`."""
        figures: Figures = {}
        shown: list[tuple[Image.Image, str]] = []
        for count, scenes in self.scenes.items():
            captions = [canonical(scene) for scene in scenes]
            painted = paint(self.unet, self.texts, self.vae, captions)
            figures |= {f"{count} {name}": share for name, share in shares(painted, scenes).items()}
            shown += list(zip(painted, captions, strict=True))[:SHOWN]
        contact_sheet([picture for picture, _ in shown], [caption for _, caption in shown]).save(
            self.folder / "sheet.png"
        )
        return figures
