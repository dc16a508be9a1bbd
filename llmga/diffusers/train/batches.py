"""Which records a step sees, and what becomes of them.

Every decision (order, crop, dropout, noise) is drawn from a generator seeded by its position in the endless stream of
examples.  So a run that was cut off goes on exactly where it was, and nothing about the data has to be saved.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from llmga.diffusers.datasets.captioned import Captioned
from llmga.diffusers.datasets.framing import frame
from llmga.diffusers.datasets.holes import hole
from llmga.diffusers.train.config import TrainConfig
from llmga.diffusers.train.latent_cache import CachedLatents

ORDER, EXAMPLE, NOISE, HOLE = range(4)  # purposes of a seed


def seed_of(*numbers: int) -> int:
    """One well-mixed seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class Batch:
    """Examples of one forward pass; `pixels`, or `mean` and `std`, or all of them are there.

    Attributes:
        dropped: (batch,) bool, whose caption is left out.
        time_ids: (batch, 6), see `framing.Framed`.
        pixels: (batch, 3, side, side) in [-1, 1].
        masks: (batch, 1, side, side), 1 where an inpainting model has to paint, else 0.
        mean, std: (batch, channels, height, width) of the cached latents.
    """

    captions: list[str]
    dropped: Tensor
    time_ids: Tensor
    pixels: Tensor | None = None
    masks: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None


class Order:
    """Yields the (position, record) pairs of one process's forward passes, from a given pass on, without end.

    Each epoch is a fresh permutation; passes may span two epochs, so no record is left out.
    """

    def __init__(self, records: int, config: TrainConfig, *, first_pass: int = 0, rank: int = 0, processes: int = 1):
        self.records = records
        self.seed = config.seed
        self.size = config.batch_size
        self.first = first_pass * self.size * processes + rank * self.size
        self.stride = self.size * processes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, []
        start = self.first
        while True:
            chosen = []
            for position in range(start, start + self.size):
                if position // self.records != epoch:
                    epoch = position // self.records
                    order = np.random.default_rng(seed_of(self.seed, ORDER, epoch)).permutation(self.records)
                chosen.append((position, int(order[position % self.records])))
            yield chosen
            start += self.stride


class Examples(Dataset):
    """A record, at a position of the stream, to a batch of one."""

    def __init__(
        self, records: Captioned, config: TrainConfig, cached: CachedLatents | None = None, *, holes: bool = False
    ):
        self.records, self.holes = records, holes
        self.config = config
        self.cached = cached

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        position, index = key
        rng = Random(seed_of(self.config.seed, EXAMPLE, position))
        dropped = torch.tensor([rng.random() < self.config.caption_dropout])
        given = {"captions": [self.records.caption(index)], "dropped": dropped}
        if self.cached is not None:
            given |= self.cached[index]
        if self.cached is None or self.holes:
            framed = frame(self.records.picture(index), self.config.resolution,
                           center_crop=self.config.center_crop, flip=self.config.flip, rng=rng)  # fmt: skip
            given |= {"time_ids": torch.tensor([framed.time_ids]), "pixels": framed.pixels[None]}
        if self.holes:
            given["masks"] = self._hole(position, given["pixels"].shape[-2:])
        return Batch(**given)

    def _hole(self, position: int, shape: torch.Size) -> Tensor:
        """(1, 1, height, width), 1 where to paint."""
        chance = np.random.default_rng(seed_of(self.config.seed, HOLE, position))
        height, width = shape
        drawn = hole((width, height), chance, whole=self.config.full_mask, scale=self.config.mask_scale)
        return torch.from_numpy(drawn).float()[None, None]


def collate(examples: list[Batch]) -> Batch:
    """Batches of one to one batch."""
    joined = {}
    for name in (one.name for one in fields(Batch)):
        values = [getattr(example, name) for example in examples]
        if name == "captions":
            joined[name] = [caption for value in values for caption in value]
        else:
            joined[name] = None if values[0] is None else torch.cat(values)
    return Batch(**joined)


def loader(examples: Examples, order: Order, workers: int) -> Iterator[Batch]:
    """The endless stream of batches."""
    return iter(DataLoader(examples, batch_sampler=order, collate_fn=collate, num_workers=workers))
