"""What a step of stage 2 costs, asked of shapes alone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.networks import CHUNK, CHUNKS, NETWORKS, T5_TOKENS
from llmga.diffusers.train.optimizers import OPTIMIZERS
from llmga.errors import UserError
from llmga.training.footprint import SCORES_BACK, Footprint, Plan, size, watched

PER_TOKEN = 18  # of its width, in a layer of CLIP: norms, projections, and the four times wider middle
ENCODING = 5  # pictures in the width of the VAE's first level that live at once while it encodes


@dataclass(frozen=True)
class Sizes:
    """What decides the need of a run; of one picture where it grows with them.

    Attributes:
        learning: shapes of what learns.
        frozen: bytes of those that do not.
        kept: bytes that wait for the backward pass.
        unet: FLOPs of the network that learns to paint, forward and backward.
        others: of the VAE and the text towers.
        encoding: bytes that live while the VAE encodes.
    """

    learning: tuple[tuple[int, ...], ...]
    frozen: int
    kept: int
    unet: float
    others: float
    encoding: float

    @property
    def learns(self) -> int:
        """Parameters that learn."""
        return sum(map(prod, self.learning))


def plan(config: Stage2Config) -> Plan:
    """What a step of such settings needs.

    Raises:
        UserError: the pipeline is not there, and no published one.
    """
    sizes = _sizes(replace(config, batch_size=1, accumulation=1, optimizer="adamw"))
    flops = config.batch_size * config.accumulation * (sizes.unet + sizes.others)
    return Plan(flops, _tensors(sizes, config))


@cache
def _sizes(config: Stage2Config) -> Sizes:
    from llmga.diffusers.train.loading import HALF, fit_to_learn, learning_parts

    config = _resolved(config)
    parts = _parts(config)
    half = HALF[config.mixed_precision if config.device != "cpu" else "no"]
    row = NETWORKS[config.family]
    parts[row.part] = _fitted(parts[row.part], config)
    learning = learning_parts(config)
    for name, part in parts.items():
        part.to(torch.float32 if name == "vae" else half).requires_grad_(name in learning)
        if name in learning:
            fit_to_learn(part, config, name)
    network, vae = parts[row.part], parts["vae"]
    towers = [parts[name] for name in row.towers if name in parts]
    one = _pass(network, vae, towers, config, half)
    learns = [weight for part in parts.values() for weight in part.parameters() if weight.requires_grad]
    return Sizes(
        learning=tuple(tuple(weight.shape) for weight in learns),
        frozen=size(parts.values(), learning=False),
        kept=one.kept(recompute=config.gradient_checkpointing) + _read(towers, config),
        unet=_flops(one, config),
        others=_encoding(vae, config) + _reading(towers, config),
        encoding=_first_level(vae, config),
    )


def _resolved(config: Stage2Config) -> Stage2Config:
    """With the family of the checkpoint, where that is to be looked up."""
    from llmga.diffusers.train.loading import resolved

    return resolved(config) if config.family == "checkpoint" else config


def _parts(config: Stage2Config) -> dict[str, Any]:
    """The models without weights; of a published pipeline its folder need not be there yet."""
    from llmga.diffusers.checkpoints import empty_parts
    from llmga.diffusers.published import PAINTERS, empty_painter
    from llmga.diffusers.train.loading import base_of

    name = Path(config.pipeline).name
    try:
        return empty_parts(base_of(config).configs)
    except UserError:
        if name in PAINTERS:
            return empty_painter(name)
        raise


def _fitted(unet: Any, config: Stage2Config) -> Any:
    from llmga.diffusers.train.tasks import TASKS, widened

    if config.task == "text-to-image" and NETWORKS[config.family].flows:
        return unet
    latent = unet.config.out_channels
    with torch.device("meta"):
        return widened(unet, latent + TASKS[config.task].extra_channels(latent))


def _pass(unet: Any, vae: Any, towers: list[Any], config: Stage2Config, half: torch.dtype) -> Footprint:
    """One pass forward of the network."""
    row = NETWORKS[config.family]
    batch, side = config.batch_size, _latent_side(vae, config)
    given: dict[str, Any] = {"device": "meta", "dtype": half}
    tokens, width, pooled = row.said(unet, towers[-1])
    unet.train()
    with watched(unet, row.blocks) as found:
        row.answer(
            unet,
            torch.empty(batch, unet.config.in_channels, side, side, **given),
            torch.empty(batch, device="meta"),
            torch.empty(batch, tokens, width, **given),
            torch.empty(batch, pooled, **given),
            torch.empty(batch, 6, device="meta"),
        )
    return found


def _latent_side(vae: Any, config: Stage2Config) -> int:
    return config.resolution // 2 ** (len(vae.config.block_out_channels) - 1)


def _flops(one: Footprint, config: Stage2Config) -> float:
    """Forward, again where blocks are recomputed, and back: for what goes in, and for weights where they learn."""
    products = one.flops - one.scores
    back = products * (1 + (config.tune == "full")) + SCORES_BACK * one.scores
    return one.flops * (1 + config.gradient_checkpointing) + back


def _encoded(config: Stage2Config) -> int:
    """How often a pass encodes its pictures: as they are, and with their holes."""
    return (not config.cache_latents) + (config.task == "inpainting")


def _encoding(vae: Any, config: Stage2Config) -> float:
    side = config.resolution
    with torch.no_grad(), watched(vae) as found:
        vae.encode(torch.empty(config.batch_size, 3, side, side, device="meta"))
    return found.flops * _encoded(config)


def _reading(towers: list[nn.Module], config: Stage2Config) -> float:
    """Every weight of a text tower multiplies every token of a caption; rows of the vocabulary are looked up.

    On the way back it does so once for what goes in and, where it learns, once for itself.
    """
    products = sum(2.0 * _multiplied(tower) * _tokens(tower, config) for tower in towers) * config.batch_size
    back = (1 + (config.tune == "full")) * config.train_text_encoder
    return 0.0 if config.cache_embeddings else products * (1 + back)


def _tokens(tower: Any, config: Stage2Config) -> int:
    """That a tower reads of a caption."""
    if not NETWORKS[config.family].flows:
        return CHUNKS * CHUNK
    return T5_TOKENS if tower.config.model_type == "t5" else CHUNK


def _read(towers: list[Any], config: Stage2Config) -> int:
    """Bytes that wait for the backward pass of the text towers, where they learn: some `PER_TOKEN` numbers a layer."""
    if not config.train_text_encoder:
        return 0
    half = 4 if config.mixed_precision == "no" or config.device == "cpu" else 2
    layers = sum(tower.config.num_hidden_layers * tower.config.hidden_size for tower in towers)
    return PER_TOKEN * half * layers * CHUNKS * CHUNK


def _multiplied(tower: nn.Module) -> int:
    looked_up = sum(part.weight.numel() for part in tower.modules() if isinstance(part, nn.Embedding))
    return sum(weight.numel() for weight in tower.parameters()) - looked_up


def _first_level(vae: Any, config: Stage2Config) -> float:
    """Bytes that live while the VAE encodes a batch in single precision."""
    pixels = config.batch_size * config.resolution**2
    return ENCODING * 4 * pixels * vae.config.block_out_channels[0] * bool(_encoded(config))


def _tensors(sizes: Sizes, config: Stage2Config) -> float:
    """Bytes at the peak of a step: while the VAE encodes, in the backward pass, or in the optimiser."""
    half = config.mixed_precision != "no" and config.device != "cpu"
    moments = sum(map(OPTIMIZERS[config.optimizer].kept, sizes.learning))
    resting = sizes.frozen + sizes.learns * (4 + 4 * bool(config.ema_decay)) + moments
    copies = 2 * sizes.learns * half * (config.tune == "full")
    gradients, kept = 4 * sizes.learns, config.batch_size * sizes.kept
    waiting = gradients * (config.accumulation > 1)  # gradients of one pass, while the next one runs
    stepping = gradients + OPTIMIZERS[config.optimizer].scratch * sizes.learns
    encoding = waiting + config.batch_size * sizes.encoding
    return resting + max(encoding, copies + max(waiting + kept, gradients), stepping)


def ways(config: Stage2Config) -> Iterator[tuple[str, Plan]]:
    """The same step in ever less memory: as set, in smaller passes, and last with low-rank weights."""
    total = config.batch_size * config.accumulation
    batches = [batch for batch in range(config.batch_size, 0, -1) if total % batch == 0]
    for tune in dict.fromkeys((config.tune, "lora")):
        for batch in batches:
            way = replace(config, tune=tune, batch_size=batch, accumulation=total // batch)
            low = f" --tune {tune}" if tune != config.tune else ""
            yield f"--batch-size {batch} --accumulation {total // batch}{low}", plan(way)
