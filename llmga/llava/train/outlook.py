"""What is to come: tokens of a step, steps of an epoch, bytes on the disk."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmga.llava.datasets.mixture import samples_of
from llmga.llava.inspection.inspection import Inspection
from llmga.llava.train.memory import GIB, MOMENTS, Setup, Sizes, learning
from llmga.llava.train.settings import TrainConfig

FORMATS = {"fp32": 4, "fp16": 2, "bf16": 2}
SPARE = 0.05  # of what is written, for logs and file systems


@dataclass(frozen=True)
class Disk:
    """Bytes that the run will have on disk at most, and that are free now."""

    folder: str
    wanted: float
    free: float

    @property
    def enough(self) -> bool:
        return self.wanted <= self.free

    def line(self) -> str:
        return f"{self.wanted / GIB:.1f} GiB at most in {self.folder!r}, {self.free / GIB:.1f} GiB are free"


def disk(config: TrainConfig, sizes: Sizes, setup: Setup) -> Disk:
    """Checkpoints to keep, one more while the next is written, and the finished model."""
    total, learns = sizes.text + sizes.projector + sizes.tower, learning(sizes, setup)
    low_rank = setup.tune in ("lora", "dora")
    kept = learns if low_rank else total
    exact = 4 if not setup.zero else 2
    checkpoint = kept * exact + learns * (MOMENTS + (4 if setup.zero else 0))
    finished = kept * FORMATS[config.save_dtype]
    folder = Path(config.resume_dir())
    wanted = (1 + SPARE) * ((config.save_total_limit + 1) * checkpoint + finished)
    return Disk(str(folder), wanted, shutil.disk_usage(_existing(folder)).free)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    whole = folder.absolute()
    return next(one for one in (whole, *whole.parents) if one.exists())


def steps(config: TrainConfig, inspection: Inspection, total: int) -> list[str]:
    """Lines of a report.

    Args:
        total: samples of an optimiser step.
    """
    counts, sources = (
        [looked.records for looked in inspection.sources],
        [looked.source for looked in inspection.sources],
    )
    shares = [samples_of(number, counts, sources) for number in range(len(counts))]
    samples = sum(shares)
    told = [f"{round(samples)} samples an epoch in about {max(1, round(samples / total))} steps of {total} samples"]
    lessons = [(looked, share) for looked, share in zip(inspection.sources, shares, strict=True) if looked.lessons]
    if lessons:
        weight = sum(share for _, share in lessons)
        tokens = sum(share * np.mean(looked.lengths()) for looked, share in lessons) / weight
        learnt = sum(share * looked.coverage * np.mean(looked.lengths()) for looked, share in lessons) / weight
        longest = max(max(looked.lengths()) for looked, _ in lessons)
        told.append(
            f"about {round(total * tokens)} tokens a step without padding, {round(total * learnt)} of them supervised; "
            f"the longest sample seen has {longest} of {config.max_length}"
        )
    return told
