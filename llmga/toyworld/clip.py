"""The toy world's CLIP: one vision tower and two text towers, trained together.

As in the real system, the vision tower later serves the language model and the two text towers the pipeline:
tower one without, tower two with its projection (SDXL's pair).  Contrastive loss of Radford et al. 2021 (section
2.3), summed over both text towers.  A real CLIP learns what matters from 400 million pairs; with seven thousand
scenes the contrastive loss alone stays blind to place and shape for long, so attributes are also classified, by
heads that are thrown away: from the patches that the language model will read, and from the texts' vectors.
"""

import random
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from llmga.images import stretch_square
from llmga.toyworld.autoencoder import to_tensor
from llmga.toyworld.captions import detailed, short
from llmga.toyworld.fitting import FitSettings, fit
from llmga.toyworld.scenes import ATTRIBUTES, PICTURE_SIZE, Scene, draw, is_held_out, train_scenes
from llmga.toyworld.vocabulary import learn_clip

RECIPE = FitSettings(steps=1100, batch_size=96, lr=1.5e-3, weight_decay=0.05)
SHARPENING = FitSettings(steps=1500, batch_size=96, lr=1.5e-3, weight_decay=0.05, seed=1)
SHAPE_WEIGHT = 3.0  # shape is learnt last: small things cover only two or three patches
PROJECTION = 64
ASPECTS = (1.0, 4 / 3, 3 / 4)  # pictures come in many shapes and reach the tower stretched to a square


class ToyClip(nn.Module):
    """Vision tower 0.9 M parameters (64 patches of 8x8), text towers 0.25 M each."""

    def __init__(self, vocabulary_size: int):
        super().__init__()
        self.vision: CLIPVisionModelWithProjection = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
                image_size=PICTURE_SIZE, patch_size=8, projection_dim=PROJECTION,
            )
        )  # fmt: skip
        # As loud as the patches: from the usual 0.02 a short training never finds out where things are.
        nn.init.normal_(self.vision.vision_model.embeddings.position_embedding.weight, std=0.3)
        text = CLIPTextConfig(
            vocab_size=vocabulary_size, hidden_size=64, intermediate_size=192, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=77, projection_dim=PROJECTION,
            bos_token_id=vocabulary_size - 2, eos_token_id=vocabulary_size - 1, pad_token_id=vocabulary_size - 1,
        )  # fmt: skip
        self.text_1: CLIPTextModelWithProjection = CLIPTextModelWithProjection(text)
        self.text_2: CLIPTextModelWithProjection = CLIPTextModelWithProjection(text)
        self.logit_scale: nn.Parameter = nn.Parameter(torch.full((2,), 2.66))
        self.seen_heads: nn.ModuleDict = _heads(self.vision.config.hidden_size)
        self.told_heads: nn.ModuleList = nn.ModuleList(_heads(PROJECTION) for _ in range(2))


def _heads(width: int) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()})


@cache
def processor() -> CLIPImageProcessorPil:
    side = {"shortest_edge": PICTURE_SIZE}
    return CLIPImageProcessorPil(size=side, crop_size={"height": PICTURE_SIZE, "width": PICTURE_SIZE})


def corpus(rng: random.Random, size: int = 6000) -> list[str]:
    """Sentences the text towers must spell well: captions of both voices."""
    scenes = [rng.choice(train_scenes()) for _ in range(size)]
    return [voice(scene, rng) for scene in scenes for voice in (detailed, short)]


@cache
def _views() -> tuple[dict[Scene, int], Tensor]:
    """Every training scene in every aspect: index of the scene, uint8 (scenes, aspects, 3, 64, 64)."""
    scenes = train_scenes()
    views = [
        stretch_square(draw(scene, round(PICTURE_SIZE * max(1, aspect)), round(PICTURE_SIZE * max(1, 1 / aspect))), 64)
        for scene in scenes
        for aspect in ASPECTS
    ]
    return {scene: i for i, scene in enumerate(scenes)}, to_tensor(views).unflatten(0, (len(scenes), len(ASPECTS)))


def disturb(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 -> float [0, 1] with changed light, a little blur and noise: what cameras, JPEG and our VAE do."""
    n = len(pictures)
    x = pictures.float() / 255
    x = x * (0.85 + 0.3 * torch.rand(n, 1, 1, 1, generator=generator))
    x = x + 0.08 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    blurred = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    x = torch.lerp(x, blurred, torch.rand(n, 1, 1, 1, generator=generator).square())
    noise = 0.04 * torch.rand(n, 1, 1, 1, generator=generator)
    return (x + noise * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def _normalised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor().image_mean, processor().image_std))
    return (x - mean) / std


def neighbourhood(rng: random.Random, size: int) -> list[Scene]:
    """Scenes of which half differ from another one in a single attribute: the contrast has to see everything."""
    scenes = rng.sample(train_scenes(), size // 2)
    chosen = dict.fromkeys(scenes)
    while len(chosen) < size:
        scene = rng.choice(scenes)
        name = rng.choice(list(ATTRIBUTES))
        near = scene.with_(**{name: rng.choice(ATTRIBUTES[name])})
        if not is_held_out(near):
            chosen[near] = None
    return list(chosen)


def loss_of(
    clip: ToyClip, tokenizer: CLIPTokenizer, generator: torch.Generator, batch_size: int
) -> tuple[Tensor, dict[str, float]]:
    """Contrast of pictures and captions, and reading every attribute off both."""
    rng = random.Random(int(torch.randint(2**31, (), generator=generator)))
    scenes = neighbourhood(rng, batch_size)
    index, views = _views()
    which = torch.tensor([index[scene] for scene in scenes])
    pictures = views[which, torch.randint(len(ASPECTS), (batch_size,), generator=generator)]
    voice = [detailed(s, rng) if rng.random() < 0.5 else short(s, rng, dropped=0.0) for s in scenes]
    ids = tokenizer(voice, padding=True, return_tensors="pt").input_ids

    truth = _truth(scenes)
    loss, right, seen = _seen(clip.vision, clip.seen_heads, disturb(pictures, generator), truth)
    target, matched = torch.arange(batch_size), 0.0
    for tower, heads, scale in zip((clip.text_1, clip.text_2), clip.told_heads, clip.logit_scale, strict=True):
        assert isinstance(heads, nn.ModuleDict)
        said = tower(ids).text_embeds.float()
        logits = seen @ nn.functional.normalize(said, dim=-1).T * scale.clamp(max=4.6).exp()
        loss = loss + (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
        loss = loss + _classified(heads, said, truth)[0]
        matched += (logits.argmax(-1) == target).float().mean().item() / 2
    return loss, {"matched": matched, "shape": right["shape"], "place": right["place"]}


def _truth(scenes: list[Scene]) -> dict[str, Tensor]:
    return {name: torch.tensor([v.index(s.attributes[name]) for s in scenes]) for name, v in ATTRIBUTES.items()}


def _seen(
    vision: CLIPVisionModelWithProjection, heads: nn.ModuleDict, pictures: Tensor, truth: dict[str, Tensor]
) -> tuple[Tensor, dict[str, float], Tensor]:
    """Classification loss of the patches the language model will read, what was right, and (batch, projection)."""
    output = vision(_normalised(pictures), output_hidden_states=True)
    loss, right = _classified(heads, output.hidden_states[-2][:, 1:].float().mean(1), truth)
    return loss, right, nn.functional.normalize(output.image_embeds.float(), dim=-1)


def _classified(heads: nn.ModuleDict, features: Tensor, truth: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Sum of the attributes' cross entropies, and the share of right answers for each."""
    logits = {name: heads[name](features) for name in truth}
    weights = {name: SHAPE_WEIGHT if name == "shape" else 1.0 for name in truth}
    loss = torch.stack([weights[name] * nn.functional.cross_entropy(logits[name], truth[name]) for name in truth]).sum()
    return loss, {name: (logits[name].argmax(-1) == truth[name]).float().mean().item() for name in truth}


def pretrain(folder: Path, recipe: FitSettings = RECIPE) -> tuple[ToyClip, tuple[CLIPTokenizer, CLIPTokenizer]]:
    """Train the three towers; interrupted, it goes on from the state in the folder."""
    torch.manual_seed(recipe.seed)
    tokenizers = learn_clip(corpus(random.Random(recipe.seed)))
    clip = ToyClip(len(tokenizers[0]))
    fit("clip", clip, lambda g: loss_of(clip, tokenizers[0], g, recipe.batch_size), recipe, folder / "state.pt")
    return clip, tokenizers


class _Sharpened(nn.Module):
    """The vision tower goes on learning while the text towers stay as the pipeline knows them."""

    def __init__(self, folder: Path):
        super().__init__()
        self.vision = CLIPVisionModelWithProjection.from_pretrained(folder / "vision_tower", trust_remote_code=False)
        self.text_2 = CLIPTextModelWithProjection.from_pretrained(
            folder / "text_encoder_2", trust_remote_code=False
        ).requires_grad_(False)
        self.heads = _heads(self.vision.config.hidden_size)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))


def sharpen(clip_folder: Path, state_file: Path, recipe: FitSettings = SHARPENING) -> CLIPVisionModelWithProjection:
    """More training for the vision tower alone, against a locked text tower (LiT, Zhai et al. 2022)."""
    torch.manual_seed(recipe.seed)
    model = _Sharpened(clip_folder)
    tokenizer = CLIPTokenizer.from_pretrained(clip_folder / "tokenizer", trust_remote_code=False)
    index, views = _views()

    def loss_of_step(generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(int(torch.randint(2**31, (), generator=generator)))
        scenes = neighbourhood(rng, recipe.batch_size)
        which = torch.tensor([index[scene] for scene in scenes])
        pictures = views[which, torch.randint(len(ASPECTS), (recipe.batch_size,), generator=generator)]
        clean = torch.rand(recipe.batch_size, 1, 1, 1, generator=generator) < 0.5
        pictures = torch.where(clean, pictures.float() / 255, disturb(pictures, generator))
        ids = tokenizer([short(s, rng, dropped=0.0) for s in scenes], padding=True, return_tensors="pt").input_ids
        with torch.no_grad():
            text = nn.functional.normalize(model.text_2(ids).text_embeds, dim=-1)
        loss, right, seen = _seen(model.vision, model.heads, pictures, _truth(scenes))
        logits = seen @ text.T * model.logit_scale.clamp(max=4.6).exp()
        loss = loss + nn.functional.cross_entropy(logits, torch.arange(recipe.batch_size))
        return loss, right

    fit("vision tower", model, loss_of_step, recipe, state_file)
    return model.vision


def save(clip: ToyClip, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], folder: Path) -> None:
    """Folders that the language model (vision_tower) and the pipeline (the other four) open as they are."""
    clip.vision.save_pretrained(folder / "vision_tower")
    processor().save_pretrained(folder / "vision_tower")
    clip.text_1.save_pretrained(folder / "text_encoder")
    clip.text_2.save_pretrained(folder / "text_encoder_2")
    for tokenizer, name in zip(tokenizers, ("tokenizer", "tokenizer_2"), strict=True):
        tokenizer.save_pretrained(folder / name)
