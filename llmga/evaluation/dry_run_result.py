"""What a dry run found, in figures and in words."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook

from llmga.evaluation.fake_gpu import FakeGpu, Trace

TERA = 1e12
GIB = 1 << 30
# Where single precision in a half-precision run is meant, and why.
MEANT = {
    "llmga/diffrir/degradation.py": "pictures are degraded exactly",
    "llmga/diffrir/jpeg.py": "pictures are degraded exactly",
    "llmga/diffusers/pipeline.py": "the VAE again, where diffusers' own inpainting pipeline encodes what is kept",
    "llmga/diffusers/latents.py": "the VAE, which some overflow in half precision",
    "llmga/diffusers/train/latent_cache.py": "the VAE, which some overflow in half precision",
}


@dataclass(frozen=True)
class Way:
    """Another way to make the same step.

    Attributes:
        flags: that say so.
        tensors: bytes that live at once on each device.
        host: bytes of main memory.
    """

    flags: str
    tensors: float
    host: float = 0.0


@dataclass
class Measured:
    """What one step, painting, answer or restoration did on the device.

    Attributes:
        flops: by number format.
        peak: bytes that live at once, in the second step and later ones, when the optimiser's averages are there, too.
        resident: bytes that lived before.
        waits: how often the program waited for the device, by reason and line.
        wrong: tensors of the wrong number format, in words.
        learning: parameters that learn.
        planned: bytes that the doctor's plan counts.
        planned_flops: FLOPs that it counts.
        size: what was done, in words: samples, pixels, steps.
        devices: for which the preset is written.
        sharded: bytes that the plan leaves on each of several, with the preset's DeepSpeed file.
        read: bytes of weights that are read from the device's memory, where that takes longer than the arithmetic.
        ways: of ways that need less, by preference.
        seconds: that the dry run took.
    """

    trace: Trace
    flops: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    resident: int = 0
    waits: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    learning: int = 0
    planned: float | None = None
    planned_flops: float | None = None
    size: str = ""
    devices: int = 1
    sharded: float | None = None
    read: float = 0.0
    ways: list[Way] = field(default_factory=list)
    seconds: float = 0.0
    _marks: list[Counter[str]] = field(default_factory=list)

    @property
    def total(self) -> float:
        """FLOPs in all number formats."""
        return sum(self.flops.values())

    def mark(self, step: int, total: int) -> None:
        """A repeated part is done; what lies between two marks is what one costs."""
        self._marks.append(Counter(self.trace.flops))

    def extend(self, steps: int) -> None:
        """Count as many repetitions as there would be."""
        if len(self._marks) < 2:
            return
        before, after = self._marks[-2:]
        for name in after:
            self.flops[name] += (after[name] - before[name]) * (steps - len(self._marks))

    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        return {name: value for name, value in asdict(self).items() if name not in ("trace", "_marks")}


@contextmanager
def measured(gpu: FakeGpu, *, passes: int = 1, of: int = 1) -> Iterator[Measured]:
    """Measure what is done inside.

    Args:
        passes: that are made.
        of: how many a whole step has.
    """
    trace = gpu.trace
    trace.begin()
    result, started = Measured(trace, resident=sum(trace.live.values())), time.monotonic()
    earlier: list[int] = []  # peaks before the optimiser steps, which makes its averages in the first one

    def stepping(*_: Any) -> None:
        earlier.append(max(trace.peak.values(), default=0))
        trace.peak = Counter(trace.live)

    hook = register_optimizer_step_pre_hook(stepping)
    yield result
    hook.remove()
    result.seconds = time.monotonic() - started
    result.flops = {name: count * of / passes for name, count in trace.flops.items()}
    grown = max(0, sum(trace.live.values()) - result.resident) if earlier else 0
    result.peak = max([*trace.peak.values(), *(peak + grown for peak in earlier)], default=0)
    result.waits = {f"{reason} at {line}": count for (reason, line), count in trace.waits.items()}
    result.wrong = _wrong(trace)


def _wrong(trace: Trace) -> list[str]:
    """Double precision anywhere; single precision where most is computed in half."""
    found = [f"{name} makes float64 on the device at {line}" for (name, line) in trace.doubles]
    halves = sum(count for name, count in trace.flops.items() if name in ("bfloat16", "float16"))
    if halves:
        found += [
            f"{number} in a half-precision run at {line}: {count / TERA:.3g} TFLOP"
            for (number, line), count in trace.islands.items()
            if line.partition(":")[0] not in MEANT
        ]
    return found
