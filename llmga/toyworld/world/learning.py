"""One loop for what the larger world teaches: Muon and AdamW side by side, weight averaging, exact resume, a curve."""

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmga.toyworld.fitting import save_atomically
from llmga.toyworld.world.muon import Muon

Figures = dict[str, float]


@dataclass(frozen=True)
class Pace:
    """How long and how fast a network learns.

    Attributes:
        lr: peak rate of Muon, for matrices and kernels.
        adam_lr: peak rate of AdamW, for embeddings, ends, biases and norms.
        warmup: share of the steps in which the rate rises; then it falls to nothing along a line.
        ema: decay of the averaged weights, which are those that are judged and kept; 0 for none.
        bf16: autocast.
        save_every: steps between two states from which an interrupted run goes on.
    """

    steps: int
    batch_size: int
    lr: float = 2e-3
    adam_lr: float = 2e-3
    warmup: float = 0.05
    ema: float = 0.0
    bf16: bool = False
    save_every: int = 50
    seed: int = 0

    def share(self, step: int) -> float:
        """The rate's share of its peak at a step, counted from 1."""
        done = step / self.steps
        return min(done / self.warmup, (1 - done) / (1 - self.warmup), 1.0) if self.warmup else 1 - done

    def seed_of(self, step: int) -> int:
        """The randomness of a step is a function of seed and step alone: nothing to store, nothing to restore."""
        return self.seed * 1_000_003 + step


class Learning:
    """A network that learns, with all that an interrupted run needs.

    Args:
        ends: names of weights that AdamW steps although they are matrices: embeddings and the network's ends.
    """

    def __init__(self, model: nn.Module, pace: Pace, ends: Callable[[str], bool]):
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        chosen = [p for name, p in named if p.ndim in (2, 4) and not ends(name)]
        rest = [p for name, p in named if p.ndim not in (2, 4) or ends(name)]
        self.model, self.pace = model, pace
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(chosen, pace.lr), torch.optim.AdamW(rest, lr=pace.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
        ]  # fmt: skip
        self.weights = [p for _, p in named]
        self.average = [p.detach().clone() for p in self.weights]
        self.step, self.spent = 0, 0.0

    def take(self, loss_of: Callable[[int], Tensor]) -> float:
        """One step."""
        share = self.pace.share(self.step + 1)
        for optimizer, peak in zip(self.optimizers, (self.pace.lr, self.pace.adam_lr), strict=True):
            optimizer.param_groups[0]["lr"] = peak * share
        with torch.autocast("cpu", torch.bfloat16, enabled=self.pace.bf16):
            loss = loss_of(self.step)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        # A young average forgets faster, or it would remember the random weights.
        kept = min(self.pace.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.weights], 1 - kept)
        return loss.item()

    def swap(self) -> None:
        """The averaged weights in the place of the learning ones, and back."""
        for weight, mean in zip(self.weights, self.average, strict=True):
            weight.data, mean.data = mean.data, weight.data

    def state(self) -> dict[str, Any]:
        """Everything that goes on."""
        return {"model": self.model.state_dict(), "average": self.average, "step": self.step, "spent": self.spent,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}  # fmt: skip

    def resume(self, file: Path) -> None:
        """Take up a state, if there is one."""
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            return
        state = torch.load(file, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.average, self.step, self.spent = state["average"], state["step"], state["spent"]


def learn(
    learning: Learning,
    loss_of: Callable[[int], Tensor],
    folder: Path,
    judge: Callable[[], Figures],
    judge_every: int,
    until: int | None = None,
) -> None:
    """Go on to the last step, or to `until`, from the state in the folder; the averaged weights are left in the model.

    Every `judge_every` steps, and at the end, `judge` looks at the averaged weights; the curve is `curve.csv`.
    """
    file, pace = folder / "state.pt", learning.pace
    learning.resume(file)
    began = time.process_time() - learning.spent
    last, losses = min(until or pace.steps, pace.steps), []
    learning.model.train()
    while learning.step < last:
        losses.append(learning.take(loss_of))
        learning.spent = time.process_time() - began
        if learning.step % pace.save_every == 0 or learning.step == last:
            save_atomically(learning.state(), file)
        if learning.step % judge_every == 0 or learning.step == last:
            row = {"step": learning.step, "cpu_seconds": round(learning.spent), "loss": sum(losses) / len(losses)}
            _append(folder / "curve.csv", row | _judged(learning, judge))
            began, losses = time.process_time() - learning.spent, []  # judging is no training
    learning.swap()
    learning.model.eval()


def _judged(learning: Learning, judge: Callable[[], Figures]) -> Figures:
    learning.swap()
    learning.model.eval()
    with torch.no_grad():
        figures = judge()
    learning.model.train()
    learning.swap()
    return figures


def _append(file: Path, row: Figures) -> None:
    is_new = not file.exists()
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print({name: round(value, 4) for name, value in row.items()}, flush=True)
