"""Which rectangle each picture is trained in: one square for all, or one of a few of the same area by its aspect."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.training.skipped import Unreadable

STEPS = 8  # sizes that a picture may be trained in before it is enlarged, each an eighth of the side smaller
Shape = tuple[int, int]  # height, width in pixels


class Shapes:
    """The rectangles of a run, and which of them a record takes.

    Args:
        of: for each record the index into `options`; None when all take the first.
    """

    def __init__(self, options: Sequence[Shape], of: Sequence[int] | None = None):
        self.options: list[Shape] = list(options)
        self.of = of

    def __getitem__(self, index: int) -> Shape:
        return self.options[0 if self.of is None else int(self.of[index])]


def bucketed(
    records: CaptionedImages, resolution: int, unit: int, folder: Path, *, upscale: bool = True, quiet: bool = False
) -> Shapes:
    """Every record in the rectangle whose aspect is nearest to its own.

    Args:
        resolution: side of the square with as many pixels.
        unit: every side is a multiple of it.
        folder: where the pictures' sizes are kept for the next run.
        upscale: False puts a picture that would have to grow into the largest set of rectangles that it covers.
    """
    sets = _sets(resolution, unit, 1 if upscale else STEPS)
    sizes = [tuple(size) for size in _sizes(records, folder, quiet).tolist()]
    chosen = {size: _nearest(size, sets) for size in dict.fromkeys(sizes)}
    options = list(dict.fromkeys([*sets[0], *sorted(chosen.values(), reverse=True)]))
    number = {shape: place for place, shape in enumerate(options)}
    return Shapes(options, [number[chosen[size]] for size in sizes])


def _sets(resolution: int, unit: int, steps: int) -> list[list[Shape]]:
    """Rectangles of every aspect with as many pixels as ever smaller squares, the largest first."""
    from diffusers.training_utils import generate_aspect_ratio_buckets

    sides = dict.fromkeys(max(unit, resolution * (steps - down) // steps // unit * unit) for down in range(1, steps))
    return [generate_aspect_ratio_buckets(side, unit) for side in (resolution, *sides)]


def _nearest(size: Shape, sets: list[list[Shape]]) -> Shape:
    """The rectangle of the first set whose best one the picture covers; of the last set where none is so small."""
    from diffusers.training_utils import find_nearest_bucket

    height, width = size
    best = [options[find_nearest_bucket(height, width, options)] for options in sets]
    return next((shape for shape in best if shape[0] <= height and shape[1] <= width), best[-1])


def _sizes(records: CaptionedImages, folder: Path, quiet: bool) -> np.ndarray:
    """(records, 2): height and width of every picture, measured once."""
    digest = hashlib.sha256()
    for index in range(len(records)):
        digest.update(f"{records.name(index)}\0{records.stamp(index)}\0".encode())
    path = folder / f"sizes-{digest.hexdigest()[:16]}.npy"
    if path.is_file():
        return np.load(path)
    sizes = np.array(
        [_size(records, i) for i in tqdm(range(len(records)), desc="measuring pictures", disable=quiet or None)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, sizes)
    partial.replace(path)
    return sizes


def _size(records: CaptionedImages, index: int) -> Shape:
    """A damaged picture counts as a square: it is passed over when it is its turn."""
    try:
        return records.size(index)
    except Unreadable:
        return 1, 1
