"""What a program should need on a GPU: the same program, run on the fake one.

A benchmark that measures on a GPU prints beside it what `expected` says, so that its first hour on a device shows what
is wrong.  With `--device fakegpu` each of them runs on any machine.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from llmga.evaluation.fake_device import NAME
from llmga.evaluation.fake_gpu import fake_gpu

Needed = Callable[[], dict[str, Any]]


@contextmanager
def device_named(name: str) -> Iterator[Needed]:
    """Enters the fake GPU where it is asked for.

    Yields:
        what tells how much was needed on the device so far: `megabytes` that lived at once, and on the fake GPU
        `tflop` by number format; nothing of a CPU.
    """
    if name != NAME:
        yield _measured
        return
    with fake_gpu() as gpu:
        yield lambda: {
            "megabytes": round(max(gpu.trace.peak.values(), default=0) / 1e6, 2),
            "tflop": {number: round(count / 1e12, 6) for number, count in gpu.trace.flops.items()},
        }


def _measured() -> dict[str, Any]:
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {"megabytes": round(peak / 1e6, 2)} if peak else {}


def expected(program: str, argv: Sequence[str], key: str = "needed") -> Any:
    """What a program with such words prints under a key on the fake GPU.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    command = [sys.executable, program, *argv, "--device", NAME]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{program} --device {NAME} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])[key]
