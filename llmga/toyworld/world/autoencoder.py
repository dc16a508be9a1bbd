"""The world's VAE: 96x96x3 pixels to 24x24x6 latents, learned from crops and whole pictures in turn.

`python -m llmga.toyworld.world autoencoder --output vae` trains one and prints how well it does on held-out scenes.
"""

import csv
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models import AutoencoderKL
from torch import Tensor, nn

from llmga.toyworld.fitting import save_atomically
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.layout import SIDE
from llmga.toyworld.world.muon import Muon
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import Scene

SAVE_EVERY = 25


@dataclass(frozen=True)
class Recipe:
    """How one autoencoder is trained.

    Attributes:
        crop: side of the crops in pixels; every `whole_every`th batch holds whole pictures, as many as cost the same,
            and so do all of the last `whole_at_last` of the steps: group norms see other statistics in a crop.
        edges: extra weight of pixels beside an edge.
        bf16: autocast, 1.75 times as fast on a CPU that has it.
        kl: weight of the divergence from a standard normal, per latent element.
    """

    steps: int = 2000
    batch_size: int = 16
    lr: float = 2e-3
    warmup: float = 0.05
    crop: int = 48
    whole_every: int = 4
    whole_at_last: float = 0.15
    edges: float = 3.0
    kl: float = 1e-4
    channels: int = 6
    muon: bool = True
    bf16: bool = True
    seed: int = 0


def architecture(channels: int = 6) -> AutoencoderKL:
    """1.2 M parameters, factor 4."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=16,
        sample_size=SIDE,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        force_upcast=False,
    )


def to_tensor(scenes: Iterable[Scene]) -> Tensor:
    """float (n, 3, 96, 96) in [-1, 1]: drawn scenes."""
    drawn = np.stack([np.asarray(draw(scene)) for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1


def batch(recipe: Recipe, step: int) -> Tensor:
    """The pictures of a step, a function of seed and step alone."""
    rng = random.Random(recipe.seed * 1_000_003 + step)
    whole = step % recipe.whole_every == 0 or step >= recipe.steps * (1 - recipe.whole_at_last)
    fewer = (SIDE // recipe.crop) ** 2 if whole else 1
    pictures = to_tensor(random_scene(rng) for _ in range(max(1, recipe.batch_size // fewer)))
    if whole:
        return pictures
    return torch.stack([_busy_crop(picture, recipe.crop, rng) for picture in pictures])


def _busy_crop(picture: Tensor, side: int, rng: random.Random) -> Tensor:
    """Of two random crops the one in which more happens; most of a scene is flat and easy."""
    corners = [(rng.randrange(SIDE - side + 1), rng.randrange(SIDE - side + 1)) for _ in range(2)]
    crops = [picture[:, y : y + side, x : x + side] for y, x in corners]
    return max(crops, key=lambda crop: crop.std().item())


def near_edges(x: Tensor, window: int) -> Tensor:
    """(n, 1, h, w): how much a picture changes within a window around each pixel."""
    high = nn.functional.max_pool2d(x, window, 1, window // 2)
    low = -nn.functional.max_pool2d(-x, window, 1, window // 2)
    return (high - low).amax(1, keepdim=True)


def loss_of(vae: AutoencoderKL, x: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """L1 + 0.5 MSE, weighted towards edges, + a light KL."""
    posterior = vae.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator)
    difference = vae.decode(posterior.mean + posterior.std * noise).sample.float() - x
    weight = 1 + recipe.edges * near_edges(x, 5).clamp(0, 1)
    loss = (weight * (difference.abs() + 0.5 * difference.square())).mean()
    return loss + recipe.kl * posterior.kl().mean() / posterior.mean[0].numel()


def optimizers(vae: AutoencoderKL, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for kernels within the network, AdamW for its ends, its biases and norms."""
    ends = {"encoder.conv_in.weight", "decoder.conv_out.weight"}
    kernels = [p for name, p in vae.named_parameters() if recipe.muon and p.ndim == 4 and name not in ends]
    chosen = {id(p) for p in kernels}
    rest = [p for p in vae.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [adam, Muon(kernels, recipe.lr)] if kernels else [adam]


def pace(recipe: Recipe, step: int) -> float:
    """The learning rate's share at a step: up, then down to nothing along a line."""
    done = step / recipe.steps
    return min(done / recipe.warmup, (1 - done) / (1 - recipe.warmup), 1.0) if recipe.warmup else 1 - done


@torch.no_grad()
def psnr(vae: AutoencoderKL, pictures: Tensor) -> dict[str, float]:
    """Reconstruction in dB (peak 255): over all pixels, and over those beside a step of more than a fifth."""
    out = torch.cat([vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1) for x in pictures.split(16)])
    error = ((out - pictures) / 2).square().mean(1, keepdim=True)
    edges = near_edges(pictures / 2, 3) > 0.2
    return {
        name: -10 * torch.log10(part.mean()).item() for name, part in {"whole": error, "edges": error[edges]}.items()
    }


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Give every latent channel mean 0 and spread 1 by folding both into the 1x1 convolutions around the latents.

    Stock pipelines know one `scaling_factor` for all channels, so the weights carry the normalisation.
    """
    latents = torch.cat([vae.encode(x).latent_dist.mean for x in pictures.split(16)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    channels = len(mean)
    before: Any = vae.quant_conv
    after: Any = vae.post_quant_conv
    before.weight[:channels] /= std[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / std
    before.bias[channels:] -= 2 * std.log()  # the other half is the log variance
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= std[None, :, None, None]


def held_out_pictures(count: int) -> Tensor:
    """Scenes with pairs of attributes that training never sees."""
    rng = random.Random(71)
    return to_tensor(random_scene(rng, held_out=True) for _ in range(count))


def train(recipe: Recipe, folder: Path, judge_every: int = 250, judged: int = 96) -> AutoencoderKL:
    """Train one; what lies in `folder` is continued, step for step, and the curve is added to as CSV.

    Args:
        judged: held-out scenes that the curve is measured on.
    """
    torch.manual_seed(recipe.seed)
    vae = architecture(recipe.channels)
    by_group = optimizers(vae, recipe)
    state_file, test = folder / "state.pt", held_out_pictures(judged)
    start, spent = _resumed(vae, by_group, state_file)
    began = time.process_time() - spent
    for step in range(start, recipe.steps):
        loss = _step(vae, by_group, recipe, step)
        is_last = step + 1 == recipe.steps
        if (step + 1) % judge_every == 0 or is_last:
            figures = {"step": step + 1, "cpu_seconds": round(time.process_time() - began), "loss": loss}
            _append(folder / "curve.csv", figures | psnr(vae, test))
            vae.save_pretrained(folder)
        if (step + 1) % SAVE_EVERY == 0 or is_last:
            state = {"model": vae.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in by_group],
                     "step": step + 1, "spent": time.process_time() - began}  # fmt: skip
            save_atomically(state, state_file)
    return vae.eval()


def _step(vae: AutoencoderKL, by_group: list[torch.optim.Optimizer], recipe: Recipe, step: int) -> float:
    for optimizer in by_group:
        optimizer.param_groups[0]["lr"] = recipe.lr * pace(recipe, step + 1)
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        loss = loss_of(vae, batch(recipe, step), recipe, generator)
    loss.backward()
    nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    for optimizer in by_group:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _resumed(vae: AutoencoderKL, by_group: list[torch.optim.Optimizer], state_file: Path) -> tuple[int, float]:
    """Take up the state that a file holds, if there is one: the next step, and the CPU seconds that were spent."""
    if not state_file.exists():
        state_file.parent.mkdir(parents=True, exist_ok=True)
        return 0, 0.0
    state = torch.load(state_file, weights_only=True)
    vae.load_state_dict(state["model"])
    for optimizer, saved in zip(by_group, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["spent"]


def _append(file: Path, row: dict[str, float]) -> None:
    is_new = not file.exists()
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)
