"""What becomes of the records that a step sees."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from random import Random

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from llmga.diffusers.datasets.captioned import Captioned
from llmga.diffusers.datasets.framing import frame
from llmga.diffusers.train.config import TrainConfig
from llmga.diffusers.train.latent_cache import CachedLatents
from llmga.stream import EXAMPLE, Order, seed_of


@dataclass(frozen=True)
class Batch:
    """Examples of one forward pass; either `pixels` or `mean` and `std` are there.

    Attributes:
        dropped: (batch,) bool, whose caption is left out.
        time_ids: (batch, 6), see `framing.Framed`.
        pixels: (batch, 3, side, side) in [-1, 1].
        mean, std: (batch, channels, height, width) of the cached latents.
    """

    captions: list[str]
    dropped: Tensor
    time_ids: Tensor
    pixels: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None


class Examples(Dataset):
    """A record, at a position of the stream, to a batch of one."""

    def __init__(self, records: Captioned, config: TrainConfig, cached: CachedLatents | None = None):
        self.records = records
        self.config = config
        self.cached = cached

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        position, index = key
        rng = Random(seed_of(self.config.seed, EXAMPLE, position))
        dropped = torch.tensor([rng.random() < self.config.caption_dropout])
        captions = [self.records.caption(index)]
        if self.cached is not None:
            return Batch(captions, dropped, **self.cached[index])
        framed = frame(self.records.picture(index), self.config.resolution,
                       center_crop=self.config.center_crop, flip=self.config.flip, rng=rng)  # fmt: skip
        return Batch(captions, dropped, torch.tensor([framed.time_ids]), pixels=framed.pixels[None])


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
