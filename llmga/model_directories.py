"""Where models lie: below the current folder, or where a clone of the repository has them."""

from collections.abc import Iterator
from pathlib import Path

MODEL_DIRECTORIES = ("checkpoints/Inference", "checkpoints/Training")
ROOTS = (Path(), Path(__file__).resolve().parents[1])  # the current folder comes first


def in_model_directories(name: str | Path) -> Iterator[Path]:
    """Every place that a model of this name may have, whether it is there or not, the first to be taken first."""
    return (root / directory / name for root in ROOTS for directory in MODEL_DIRECTORIES)
