"""Optimizers as rows: how one is made, and what it keeps of a weight."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from llmga.diffusers.train.config import Stage2Config
from llmga.extras import require
from llmga.registry import Registry

Group = dict[str, Any]
Shape = Sequence[int]
IN_8_BITS = 4096  # weights of a tensor from which on bitsandbytes keeps them so
BLOCK = 256  # of them share a scale


@dataclass(frozen=True)
class Optimizer:
    """A way to step.

    Attributes:
        make: groups of `params` and their `peak` rate, settings -> what steps them, one after the other.
        kept: shape of a tensor that learns -> bytes that are kept of it between two steps.
        scratch: bytes that a step takes for each number of all of them; 0 where it goes from tensor to tensor.
    """

    make: Callable[[list[Group], Stage2Config], list[torch.optim.Optimizer]]
    kept: Callable[[Shape], float]
    scratch: int = 0


def _adam(config: Stage2Config) -> dict[str, Any]:
    return {"betas": (config.beta1, config.beta2), "eps": config.epsilon, "weight_decay": config.weight_decay}


def _adamw(groups: list[Group], config: Stage2Config) -> list[torch.optim.Optimizer]:
    return [torch.optim.AdamW(groups, lr=config.lr, **_adam(config))]


def _adamw_8bit(groups: list[Group], config: Stage2Config) -> list[torch.optim.Optimizer]:
    bitsandbytes = require("bitsandbytes", "--optimizer adamw8bit")
    return [bitsandbytes.optim.AdamW8bit(groups, lr=config.lr, **_adam(config))]


def _adafactor(groups: list[Group], config: Stage2Config) -> list[torch.optim.Optimizer]:
    """With the rate that is given, not one of its own (Shazeer and Stern 2018, arXiv:1804.04235)."""
    from transformers.optimization import Adafactor

    fixed = {"scale_parameter": False, "relative_step": False, "warmup_init": False}
    return [Adafactor(groups, lr=config.lr, weight_decay=config.weight_decay, **fixed)]


def _prodigy(groups: list[Group], config: Stage2Config) -> list[torch.optim.Optimizer]:
    """It finds the rate (Mishchenko and Defazio 2023, arXiv:2306.06101); a warm-up must not count as a small one."""
    prodigyopt = require("prodigyopt", "--optimizer prodigy")
    return [prodigyopt.Prodigy(
        groups, lr=config.lr, use_bias_correction=True, safeguard_warmup=bool(config.warmup), **_adam(config)
    )]  # fmt: skip


def _muon(groups: list[Group], config: Stage2Config) -> list[torch.optim.Optimizer]:
    """Matrices by Muon, whose steps are made as large as AdamW's; convolutions, biases and norms by AdamW."""
    matrices, others = (_of_shape(groups, flat) for flat in (True, False))
    if config.muon_lr is not None:
        matrices = [group | {"peak": config.muon_lr} for group in matrices]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(torch.optim.Muon(
            matrices, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        ))  # fmt: skip
    return made + (_adamw(others, config) if others else [])


def _of_shape(groups: list[Group], flat: bool) -> list[Group]:
    """The matrices of the groups, or all else."""
    kept = [group | {"params": [each for each in group["params"] if (each.ndim == 2) == flat]} for group in groups]
    return [group for group in kept if group["params"]]


def _factored(shape: Shape) -> float:
    """Rows and columns of the last two dimensions; a vector whole."""
    if len(shape) < 2:
        return 4.0 * prod(shape)
    return 4.0 * (prod(shape[:-1]) + prod(shape[:-2]) * shape[-1])


def _in_8_bits(shape: Shape) -> float:
    numbers = prod(shape)
    return 8.0 * numbers if numbers < IN_8_BITS else 2 * (numbers + 4 * numbers / BLOCK)


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", {
    "adamw": Optimizer(_adamw, lambda shape: 8.0 * prod(shape), scratch=4),
    "adamw8bit": Optimizer(_adamw_8bit, _in_8_bits),
    "adafactor": Optimizer(_adafactor, _factored),
    "prodigy": Optimizer(_prodigy, lambda shape: 16.0 * prod(shape)),
    "muon": Optimizer(_muon, lambda shape: (4.0 if len(shape) == 2 else 8.0) * prod(shape), scratch=4),
})  # fmt: skip


def optimizers_of(config: Stage2Config, groups: Iterable[Group]) -> list[torch.optim.Optimizer]:
    """What steps the weights of these groups, each at its own `peak` rate.

    Raises:
        UserError: a package is missing.
    """
    given = [group | {"params": list(group["params"])} for group in groups]
    return OPTIMIZERS[config.optimizer].make([group for group in given if group["params"]], config)
