"""What is to come: tokens of a step, steps of an epoch, bytes on the disk."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmga.llava.datasets.mixture import held_out_of, samples_of
from llmga.llava.inspection.inspection import Inspection
from llmga.llava.train.settings import Stage1Config
from llmga.training.checkpoints import GIB, checkpoints, size_of
from llmga.training.footprint import MOMENTS

FORMATS = {"fp32": 4, "fp16": 2, "bf16": 2}
SPARE = 0.05  # of what is written, for logs and file systems


@dataclass(frozen=True)
class Disk:
    """Bytes that the run will have on disk at most, that its first checkpoint and the model take, and that are free,
    of which what earlier checkpoints of the run hold counts as free.
    """

    folder: str
    wanted: float
    first: float
    free: float

    @property
    def enough(self) -> bool:
        """Whether all of it has room."""
        return self.wanted <= self.free

    def line(self) -> str:
        """What a report says of it."""
        return f"{self.wanted / GIB:.1f} GiB at most in {self.folder!r}, {self.free / GIB:.1f} GiB are free"


def disk(config: Stage1Config, total: int, learns: int) -> Disk:
    """Checkpoints to keep, one more while the next is written, and the finished model.

    Args:
        total: parameters of the model.
        learns: how many of them learn.
    """
    kept = learns if config.low_rank else total
    exact = 4 if config.deepspeed is None else FORMATS[config.precision]
    checkpoint = kept * exact + learns * (MOMENTS + (0 if config.deepspeed is None else 4))
    finished = kept * FORMATS[config.save_dtype]
    folder = Path(config.resume_dir())
    own = sum(map(size_of, checkpoints(folder)))
    wanted, first = ((1 + SPARE) * (count * checkpoint + finished) for count in (config.save_total_limit + 1, 1))
    return Disk(str(folder), wanted, first, shutil.disk_usage(_existing(folder)).free + own)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    whole = folder.absolute()
    return next(one for one in (whole, *whole.parents) if one.exists())


def length(config: Stage1Config, samples: int) -> int:
    """Optimiser steps of a run that `readiness.ready` has seen.

    Args:
        samples: of an epoch, before some are held out.
    """
    assert config.global_batch is not None
    learnt = samples - held_out_of(samples, config.eval_fraction)
    return config.steps or math.ceil(config.epochs * math.ceil(learnt / config.global_batch))


def late_checkpoints(config: Stage1Config, whole: int) -> list[str]:
    """The line of a report on a run of so many steps whose first checkpoint is its last."""
    late = f"no checkpoint before the last of {whole} steps: --save-steps is {config.save_steps}"
    return [late] if config.save_steps >= whole else []


def steps(config: Stage1Config, inspection: Inspection, total: int) -> list[str]:
    """Lines of a report.

    Args:
        total: samples of an optimiser step.
    """
    counts, sources = zip(*((looked.records, looked.source) for looked in inspection.sources), strict=True)
    shares = [samples_of(number, counts, sources) for number in range(len(counts))]
    samples = sum(share * looked.pieces for share, looked in zip(shares, inspection.sources, strict=True))
    epoch = max(1, round(samples / total))
    lines = [f"{round(samples)} samples an epoch in about {epoch} steps of {total} samples"]
    lines += late_checkpoints(config, config.steps or round(config.epochs * epoch))
    lessons = [
        (looked, share * looked.pieces)
        for looked, share in zip(inspection.sources, shares, strict=True)
        if looked.lessons
    ]
    if lessons:
        weight = sum(share for _, share in lessons)
        tokens = sum(share * np.mean(looked.lengths()) for looked, share in lessons) / weight
        learnt = sum(share * looked.coverage * np.mean(looked.lengths()) for looked, share in lessons) / weight
        longest = max(max(looked.lengths()) for looked, _ in lessons)
        lines.append(
            f"about {round(total * tokens)} tokens a step without padding, {round(total * learnt)} of them supervised; "
            f"the longest sample seen has {longest} of {config.max_length}"
        )
    return lines
