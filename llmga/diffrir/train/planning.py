"""What a step of DiffRIR's training costs, asked of shapes alone."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from llmga.diffrir.train.config import RestorerConfig
from llmga.training.footprint import MOMENTS, Footprint, Plan, size, watched

MAKING, GROWN = 12, 1.5  # pictures that live at once while they are degraded, and how much larger they may become


def plan(config: RestorerConfig) -> Plan:
    """What a step of such settings needs."""
    with torch.device("meta"):
        objective, opponent, parts = _networks(config)
        states = _states(parts, config)
        half = config.mixed_precision == "bf16" and config.device != "cpu"
        with watched(nn.ModuleList(parts), autocast=torch.bfloat16 if half else None) as found:
            kept = _step(objective, opponent, config, found)
    return Plan(found.flops, states + max(kept, _making(config)))


def _networks(config: RestorerConfig) -> tuple[Any, Any, list[nn.Module]]:
    """Objective, opponent or None, and the networks of both, the one that learns first."""
    from llmga.diffrir.discriminator import Discriminator
    from llmga.diffrir.losses import PERCEPTUAL_LAYERS
    from llmga.diffrir.model import Stage1, Stage2
    from llmga.diffrir.train.objective import OBJECTIVES, Opponent
    from llmga.diffrir.vgg import VGG19, Features

    teacher = None if config.objective == "teacher" else Stage1(config.network).requires_grad_(False)
    network = Stage1(config.network) if teacher is None else Stage2(config.network)
    objective = OBJECTIVES[config.objective](network, teacher, composited=config.composited)
    judge = Discriminator() if config.objective == "adversarial" else None
    features = Features(VGG19, PERCEPTUAL_LAYERS).requires_grad_(False) if judge and config.perceptual else None
    parts: list[nn.Module] = [part for part in (network, teacher, judge, features) if part is not None]
    return objective, Opponent(judge, features) if judge else None, parts


def _step(objective: Any, opponent: Any, config: RestorerConfig, found: Footprint) -> int:
    """The trainer's own; returns the bytes that wait when the way back begins."""
    from llmga.diffrir.layers import PRIOR_WIDTH
    from llmga.diffrir.losses import Pair, total

    batch, side = config.batch_size, config.patch
    real = torch.empty(batch, 3, side, side)
    degraded = torch.empty(batch, 3, side // config.scale, side // config.scale)
    pair = Pair(degraded, real, real[:, :1], real)
    losses, output = objective(pair, torch.empty(batch, PRIOR_WIDTH))
    if opponent:
        losses |= opponent.losses(output, pair)
    total(losses).backward()
    kept = found.kept()
    for loss, _ in opponent.lessons(output, pair) if opponent else ():
        total(loss).backward()
    return kept


def _making(config: RestorerConfig) -> float:
    """Bytes that live while pictures are degraded, at the largest size that they are given."""
    return MAKING * 4 * 3 * config.batch_size * (GROWN * config.picture) ** 2


def _states(parts: list[nn.Module], config: RestorerConfig) -> float:
    """Weights, averages, gradients, moments, and the older pairs that wait on the device."""
    learns = size(parts, learning=True)
    averaged = sum(4 * weight.numel() for weight in parts[0].parameters()) * bool(config.ema_decay)
    pixels = config.patch**2 * (2 + 1 / config.scale**2)
    return learns * (2 + MOMENTS / 4) + averaged + size(parts, learning=False) + config.pool * 3 * 4 * pixels


def ways(config: RestorerConfig) -> Iterator[tuple[str, Plan]]:
    """As set, and with fewer pictures a step, which is another training."""
    batch = config.batch_size
    while batch:
        yield f"--batch-size {batch}", plan(replace(config, batch_size=batch))
        batch //= 2
