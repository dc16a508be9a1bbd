"""The loop of the trainings that run on accelerate: steps, log, validation, checkpoints, averaged weights.

A stage inherits `TrainingLoop`, says what one step is, and keeps its objective, data and presets to itself.
"""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from llmga.errors import UserError
from llmga.training.checkpoints import what_comes_next
from llmga.training.skipped import SkippedImages
from llmga.training.state import find_resume, load_checkpoint, save_checkpoint
from llmga.training.stopping import StopSignals, any_process

LOG_FILE = "log.jsonl"


def learning_rate(config: Any, step: int, base: float, decay: float = 1.0) -> float:
    """Rate of a step: a linear rise, then a half cosine to 0, or a share of the base.

    Args:
        config: the run's settings, with `warmup`, `steps` and `schedule`.
        step: its number, counted from 0.
        base: the peak.
        decay: the share of the base that other schedules than cosine leave at this step.
    """
    if step < config.warmup:
        return base * (step + 1) / config.warmup
    if config.schedule != "cosine":
        return base * decay
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return base * 0.5 * (1 + math.cos(math.pi * done))


def numbers(*values: Tensor | float | None) -> list[float]:
    """Scalars to numbers, read at once, since a program waits for the device at every read; nothing counts as 0."""
    scalars = [value.detach().float().reshape(()) for value in values if isinstance(value, Tensor)]
    read = iter(torch.stack(scalars).cpu().tolist() if scalars else ())
    return [next(read) if isinstance(value, Tensor) else float(value or 0) for value in values]


class TrainingLoop:
    """The state of one run, from its first step or its newest checkpoint to its last step.

    Args:
        config: the run's settings, a frozen dataclass; what is read of it here has the same name in every stage.
        accelerator: processes, devices and number format.

    Attributes:
        step: optimiser steps done.
        dataset: what is learnt from, with its length and its `digest`.
        skipped: pictures of it that cannot be used.
        names: of the parameters that learn.
        learning: they themselves.
        ema: their running averages, None without.
        validates_every: steps between validations, None for none.
    """

    FREE: ClassVar[set[str]]  # settings that may differ between the two halves of a run without changing its course
    STEADY: ClassVar[str]  # the schedule under which the number of steps may differ, too
    EMA_FILE: ClassVar[str]

    dataset: Any
    skipped: SkippedImages
    names: list[str]
    learning: list[nn.Parameter]
    ema: EMAModel | None
    title: str | None = None  # of the progress bar
    validates_every: int | None = None

    def __init__(self, config: Any, accelerator: Accelerator):
        self.config = config
        self.accelerator = accelerator
        self.main: bool = accelerator.is_main_process
        self.step: int = 0

    def _position(self, passes: int) -> dict[str, int]:
        """Where in the stream of examples this process is, after so many forward passes."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        return {"first_pass": passes, "rank": rank, "processes": processes}

    def _batches(self) -> Iterator[Any]:
        """The endless stream of batches from `step` on."""
        raise NotImplementedError

    def _optimise(self, batches: Iterator[Any]) -> dict[str, float]:
        """One optimiser step; what the log says of it."""
        raise NotImplementedError

    def _measure(self) -> dict[str, float]:
        """What validation adds to the log, in all processes; called where it is due."""
        return {}

    def _validate(self) -> None:
        """Validation that adds nothing to the log; called where it is due, after the checkpoint."""

    def _own_files(self) -> dict[str, dict[str, Tensor]]:
        """What this process's part of a checkpoint holds beside accelerate's own files."""
        if self.ema is None or not self.main:
            return {}
        return {self.EMA_FILE: dict(zip(self.names, self.ema.shadow_params, strict=True))}

    def _take_up(self, folder: Path) -> None:
        """Read what `_own_files` gave."""
        if self.ema is None:
            return
        stored = load_file(folder / self.EMA_FILE)
        for name, shadow in zip(self.names, self.ema.shadow_params, strict=True):
            shadow.copy_(stored[name])
        self.ema.optimization_step = self.step

    def _keep_averages(self, learning: dict[str, nn.Parameter]) -> None:
        """Average these parameters from now on, if the settings say so."""
        self.names, self.learning = list(learning), list(learning.values())
        decay = self.config.ema_decay
        self.ema = EMAModel(self.learning, decay=decay, foreach=True) if decay else None

    def _resume(self) -> None:
        """Go on from the checkpoint that the settings name, if there is one.

        Raises:
            UserError: it cannot be taken up, or is further than the run shall go.
        """
        folder = find_resume(self.config)
        if folder is None:
            return
        self.accelerator.print(f"going on from {folder}")
        free = self.FREE | {"steps"} if self.config.schedule == self.STEADY else self.FREE
        self.step = load_checkpoint(self.accelerator, folder, self.config, free, self.dataset)
        self._take_up(folder)
        if self.step > self.config.steps:
            raise UserError(f"{str(folder)!r} is further than --steps {self.config.steps}; give at least {self.step}.")
        if self.step == self.config.steps:
            self.accelerator.print(f"already finished: all {self.step} steps are in {folder}")

    def fit(self) -> None:
        """Run to the last step, with a line in `log.jsonl` for each step, validations and checkpoints.

        Raises:
            UserError: nothing can be learnt, or the disk is full.
            KeyboardInterrupt: with words, when somebody ended it before.
        """
        batches, steps = self._batches(), self.config.steps
        Path(self.config.run).mkdir(parents=True, exist_ok=True)
        bar = tqdm(total=steps, initial=self.step, desc=self.title, disable=None if self.main else True)
        stopped = False
        with bar, StopSignals() as signals:
            while self.step < steps and not stopped:
                record = self._optimise(batches)
                self.step += 1
                bar.update()
                stopped = any_process(signals.asked, self.accelerator.device)
                self._log(record | (self._measure() if self._is_due(self.validates_every) else {}))
                if stopped or self._is_due(self.config.checkpoint_every):
                    self._save_checkpoint()
                if self._is_due(self.validates_every):
                    self._validate()
        if self.main and (summary := self.skipped.summary()):
            print(summary, file=sys.stderr)
        if self.step < steps:
            raise KeyboardInterrupt(f"stopped after step {self.step} of {steps}; the same command "
                                    f"{what_comes_next(Path(self.config.run))}")  # fmt: skip

    def _is_due(self, every: int | None) -> bool:
        return every is not None and (self.step % every == 0 or self.step == self.config.steps)

    def _log(self, record: dict[str, float]) -> None:
        if self.main:
            with (Path(self.config.run) / LOG_FILE).open("a") as log:
                print(json.dumps({"step": self.step, **record}), file=log)
            self.accelerator.log(record, step=self.step)  # to where the accelerator was told to

    def _save_checkpoint(self) -> None:
        save_checkpoint(self.accelerator, self.config, self.step, self._own_files(), self.dataset)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights for a while, then the ones that learn again."""
        if self.ema is None:
            yield
            return
        self.ema.store(self.learning)
        self.ema.copy_to(self.learning)
        try:
            yield
        finally:
            self.ema.restore(self.learning)
