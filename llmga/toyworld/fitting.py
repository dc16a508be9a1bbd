"""One loop for the four base models: a loss of a step, AdamW on one cycle, weight averaging, exact resume."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm


@dataclass(frozen=True)
class FitSettings:
    """How long and how fast one base model is trained."""

    steps: int
    batch_size: int
    lr: float
    weight_decay: float = 0.01
    warmup: float = 0.08  # fraction of the steps in which the learning rate rises
    ema_decay: float = 0.998
    bf16: bool = False  # autocast; pays for convolutions at 64x64, loses for the small UNet (measured on CPU)
    save_every: int = 200
    seed: int = 0


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step, a function of (seed, step) alone: nothing to store, nothing to restore."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def fit(
    name: str,
    model: nn.Module,
    loss_of: Callable[[torch.Generator], tuple[Tensor, dict[str, float]]],
    recipe: FitSettings,
    state_file: Path,
) -> nn.Module:
    """Train `model` in place and leave the averaged weights in it.

    Args:
        loss_of: draws a batch with the generator it is given and returns (scalar loss, figures for the progress bar).
        state_file: where the state is kept while training; an existing one is continued, step for step.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    schedule = OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps + 1, pct_start=recipe.warmup)
    ema = EMAModel(parameters, decay=recipe.ema_decay)

    start = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        ema.load_state_dict(state["ema"])
        start = state["step"]

    model.train()
    progress = tqdm(range(start, recipe.steps), desc=name, initial=start, total=recipe.steps, mininterval=10)
    for step in progress:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            loss, figures = loss_of(step_generator(recipe.seed, step))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        ema.step(parameters)
        if step % 20 == 0:
            shown = {name: f"{value:.3f}" for name, value in figures.items()}
            progress.set_postfix({"loss": f"{loss.item():.4f}"} | shown, refresh=False)
        if (step + 1) % recipe.save_every == 0:
            save_atomically(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "ema": ema.state_dict(),
                    "step": step + 1,
                },
                state_file,
            )
    ema.copy_to(parameters)
    return model.eval()


def save_atomically(state: dict[str, Any], file: Path) -> None:
    """Write beside, then rename: a kill at any moment leaves the old state or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".writing")
    torch.save(state, beside)
    os.replace(beside, file)
