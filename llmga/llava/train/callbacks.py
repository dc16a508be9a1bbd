"""What transformers' Trainer calls between its steps."""

import math
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from llmga.errors import UserError
from llmga.llava.datasets.order import Shuffled
from llmga.llava.datasets.packing import Packs
from llmga.training.stopping import StopSignals, any_process


class StopAtLostLoss(TrainerCallback):
    """Stops at a logged loss of exactly 0 or without a value.

    A mean over supervised tokens is never exactly 0; the library logs 0 for steps whose loss was no number.
    """

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Raises:
        UserError: nothing can be learnt from this loss.
        """
        loss = (logs or {}).get("loss")
        if loss is not None and (loss == 0 or not math.isfinite(loss)):
            raise UserError(
                f"the loss of step {state.global_step} is {loss:g}, from which nothing can be learnt: either no token "
                "is supervised or the computation overflows; ask the doctor, lower --lr, or give --precision fp32."
            )


class StopOnSignal(StopSignals, TrainerCallback):
    """All processes stop after the same step, with a checkpoint."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop where any process was asked to."""
        if any_process(self.asked, args.device):
            self.asked = control.should_save = control.should_training_stop = True


class SetEpoch(TrainerCallback):
    """Sets the sampler's epoch; after resuming with several processes the library's own call gets lost."""

    def __init__(self, sampler: Shuffled | Packs):
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the sampler which epoch begins."""
        self.sampler.set_epoch(int((state.epoch or 0) + 1e-6))


class OwnIntervals(TrainerCallback):
    """Intervals are those of the settings; the library goes on with the checkpoint's."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the settings' intervals in the checkpoint's place."""
        state.compute_steps(args, state.max_steps)


class NoGradientIsZero(TrainerCallback):
    """A step without a picture moves the projector by its momentum, as it does where several processes train."""

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any
    ) -> None:
        """Give each learning parameter that has no gradient one of zeros."""
        for parameter in model.parameters() if model and args.deepspeed is None else ():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
