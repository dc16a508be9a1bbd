"""The toy world's VAE: 64x64x3 pixels to 16x16x4 latents."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from llmga.toyworld.fitting import FitSettings, fit
from llmga.toyworld.scenes import PICTURE_SIZE, Scene, draw, random_scene, train_scenes

RECIPE = FitSettings(steps=3600, batch_size=16, lr=2e-3, bf16=True, weight_decay=0.0)
MIXED_SHARE = 4  # one picture of this many holds two or three things, so that latents are not blind to them
MIXED_POOL = 2000


def architecture() -> AutoencoderKL:
    """0.9 M parameters, factor 4: enough for flat shapes with clean edges."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=PICTURE_SIZE,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        force_upcast=False,
    )


def to_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """PIL pictures -> uint8 (n, 3, h, w)."""
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2).contiguous()


def pixels(pictures: Tensor) -> Tensor:
    """uint8 -> float in [-1, 1]."""
    return pictures.float() / 127.5 - 1


@cache
def _pictures() -> tuple[Tensor, Tensor]:
    import random

    rng = random.Random(0)
    mixed = [draw(random_scene(rng, things=rng.choice((2, 3)))) for _ in range(MIXED_POOL)]
    return to_tensor([draw(scene) for scene in train_scenes()]), to_tensor(mixed)


def loss_of(vae: AutoencoderKL, generator: torch.Generator, batch_size: int) -> tuple[Tensor, dict[str, float]]:
    """L1 + 0.5 MSE, weighted towards edges, + a light KL (per element)."""
    single, mixed = _pictures()
    several = batch_size // MIXED_SHARE
    x = torch.cat([
        single[torch.randint(len(single), (batch_size - several,), generator=generator)],
        mixed[torch.randint(len(mixed), (several,), generator=generator)],
    ])  # fmt: skip
    x = pixels(x)
    if torch.rand((), generator=generator) < 0.5:
        x = x.flip(-1)  # mirrored hearts and crosses are no scenes of the world, but edges all the same
    posterior = vae.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator)
    difference = vae.decode(posterior.mean + posterior.std * noise).sample.float() - x
    weight = 1 + 3 * _edges(x)
    mse = difference.square()
    loss = (weight * (difference.abs() + 0.5 * mse)).mean() + 1e-4 * posterior.kl().mean() / posterior.mean[0].numel()
    return loss, {"psnr": 10 * torch.log10(4 / mse.mean()).item()}


def _edges(x: Tensor) -> Tensor:
    """(n, 1, h, w) in [0, 1]: where a picture changes within two pixels; most of a scene is flat and easy."""
    high = nn.functional.max_pool2d(x, 5, 1, 2)
    low = -nn.functional.max_pool2d(-x, 5, 1, 2)
    return (high - low).amax(1, keepdim=True).clamp(0, 1)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor, batch_size: int = 64) -> Tensor:
    """uint8 (n, 3, h, w) -> latent means (n, 4, h/4, w/4)."""
    return torch.cat([vae.encode(pixels(chunk)).latent_dist.mean for chunk in pictures.split(batch_size)])


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL) -> None:
    """Give every latent channel mean 0 and spread 1 by folding both into the 1x1 convolutions around the latents.

    Stock pipelines know one `scaling_factor` for all channels (and use per-channel figures in some pipelines only),
    so the weights carry the normalisation and the factor stays 1.
    """
    latents = encode(vae, _pictures()[0][::4])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    channels = len(mean)
    before: Any = vae.quant_conv
    after: Any = vae.post_quant_conv
    before.weight[:channels] /= std[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / std
    before.bias[channels:] -= 2 * std.log()  # the other half is the log variance
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= std[None, :, None, None]


@torch.no_grad()
def psnr(vae: AutoencoderKL, scenes: tuple[Scene, ...]) -> float:
    """Reconstruction of drawn scenes in dB (peak 255, error averaged over all pictures)."""
    errors = []
    for chunk in to_tensor([draw(scene) for scene in scenes]).split(64):
        out = vae.decode(vae.encode(pixels(chunk)).latent_dist.mean).sample.clamp(-1, 1)
        errors.append(((out - pixels(chunk)) * 127.5).square().mean((1, 2, 3)))
    return (10 * torch.log10(255**2 / torch.cat(errors).mean())).item()


def pretrain(folder: Path, recipe: FitSettings = RECIPE) -> AutoencoderKL:
    """Train it; interrupted, it goes on from the state in the folder."""
    torch.manual_seed(recipe.seed)
    vae = architecture()
    fit("vae", vae, lambda g: loss_of(vae, g, recipe.batch_size), recipe, folder / "state.pt")
    normalise_latents(vae)
    return vae
