"""Ctrl-C and SIGTERM end a run after the step that is being made, with a checkpoint."""

import os
import signal
import threading
import time
from typing import Any

import torch
from torch import distributed

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 3.0  # seconds in which a second signal is the first one's echo: torchrun passes on what the terminal sent
NOTICE = b"\nstopping after this step, with a checkpoint; once more to stop at once\n"


class StopSignals:
    """Hears the signals while it is entered; a second one ends the process as it would have without this.

    Attributes:
        asked: somebody wants the run to end.
    """

    def __init__(self) -> None:
        self.asked: bool = False
        self._heard, self._process = 0.0, os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # nobody else may
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, *problem: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _hear(self, number: int, frame: object) -> None:
        if not self.asked:
            self.asked, self._heard = True, time.monotonic()
            if os.getpid() == self._process:  # the loader's processes inherit this and hear the terminal, too
                os.write(2, NOTICE)
        elif time.monotonic() - self._heard > PATIENCE:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)


def any_process(said: bool | torch.Tensor, device: torch.device) -> bool:
    """Whether any process says so; all of them must ask."""
    if not distributed.is_initialized():
        return bool(said)
    flag = torch.as_tensor(said, device=device).to(torch.int32)
    distributed.all_reduce(flag, distributed.ReduceOp.MAX)
    return bool(flag)
