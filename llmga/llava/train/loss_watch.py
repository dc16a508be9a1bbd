"""A loss from which nothing can be learnt ends the run."""

import math
from typing import Any

from transformers import TrainerCallback

from llmga.errors import UserError


class LossWatch(TrainerCallback):
    """Stops at a logged loss of exactly 0 or without a value.

    A mean over supervised tokens is never exactly 0; the library logs 0 for steps whose loss was no number.
    """

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Raises: UserError."""
        loss = (logs or {}).get("loss")
        if loss is not None and (loss == 0 or not math.isfinite(loss)):
            raise UserError(
                f"the loss of step {state.global_step} is {loss:g}, from which nothing can be learnt: either no token "
                "is supervised or the computation overflows; ask the doctor, lower --lr, or give --precision fp32."
            )
