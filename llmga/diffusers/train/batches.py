"""What becomes of the records that a forward pass sees."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.datasets.framing import Framed, frame
from llmga.diffusers.datasets.holes import hole
from llmga.diffusers.datasets.shapes import Shape, Shapes
from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.latent_cache import CachedLatents
from llmga.errors import UserError
from llmga.training.skipped import SkippedImages, Unreadable
from llmga.training.stream import EXAMPLE, HOLE, StreamBatchSampler, load_batches, seed_of


@dataclass(frozen=True)
class Batch:
    """Stage2Dataset of one forward pass; `pixels`, or `mean` and `std`, or all of them are there.

    Attributes:
        dropped: (batch,) bool, whose caption is left out.
        time_ids: (batch, 6), see `framing.Framed`.
        pixels: (batch, 3, height, width) in [-1, 1].
        masks: (batch, 1, height, width), 1 where an inpainting model has to paint, else 0.
        mean, std: (batch, channels, height, width) of the cached latents.
        weights: (batch,) of the records' losses; None where all count alike.
    """

    captions: list[str]
    dropped: Tensor
    time_ids: Tensor
    pixels: Tensor | None = None
    masks: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None
    weights: Tensor | None = None

    @property
    def cached(self) -> tuple[Tensor, Tensor] | None:
        """Mean and spread of the latents where they were cached."""
        return None if self.mean is None or self.std is None else (self.mean, self.std)

    @property
    def images(self) -> Tensor:
        """`pixels`, of a batch that has some."""
        assert self.pixels is not None
        return self.pixels


class Stage2Dataset(Dataset[Batch]):
    """A record, at a position of the stream, to a batch of one.

    A damaged picture ends no run: the next record of its shape takes its place, or when there is none, another one
    in that shape.

    Args:
        cached: where pictures are read from instead, those that could not be read before being known.
        holes: whether pictures come with a region that is to be filled.
    """

    def __init__(
        self,
        records: CaptionedImages,
        config: Stage2Config,
        shapes: Shapes,
        cached: CachedLatents | None = None,
        *,
        holes: bool = False,
    ):
        self.records = records
        self.config = config
        self.shapes = shapes
        self.cached = cached
        self.holes = holes
        self.skipped: SkippedImages = SkippedImages(config.run)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        position, index = key
        shape = self.shapes[index]
        return self.skipped.first_usable(
            self._candidates(index), lambda other: self._example(position, other, shape), self.records.name
        )

    def _candidates(self, index: int) -> Iterator[int]:
        """The record, then those after it that are trained in the same rectangle, then all others."""
        count, shape = len(self.records), self.shapes[index]
        around = (other % count for other in range(index, index + count))
        yield from (other for other in around if self.shapes[other] == shape)
        yield from (other for other in range(count) if self.shapes[other] != shape)

    def _example(self, position: int, index: int, shape: Shape) -> Batch:
        rng = Random(seed_of(self.config.seed, EXAMPLE, position))
        dropped = torch.tensor([rng.random() < self.config.caption_dropout])
        given: dict[str, Any] = {"captions": [self._caption(index, rng)], "dropped": dropped}
        if self.config.regularisation:
            weight = self.config.prior_weight if self.records.is_prior(index) else 1.0
            given["weights"] = torch.tensor([weight])
        if self.cached is not None:
            given |= self._latents(self.cached, index, shape)
        if self.cached is None or self.holes:
            framed = self._framed(index, shape, rng)
            given |= {"time_ids": torch.tensor([framed.time_ids]), "pixels": framed.pixels[None]}
        if self.holes:
            given["masks"] = (self._drawn(position, shape) if framed.mask is None else framed.mask)[None]
        return Batch(**given)

    def _caption(self, index: int, rng: Random) -> str:
        caption = self.records.caption(index, rng)
        return self.config.tags(caption, rng) if self.config.tags else caption

    def _latents(self, cached: CachedLatents, index: int, shape: Shape) -> dict[str, Tensor]:
        found = cached.at(index, shape)
        if found is None:
            raise Unreadable(f"the training picture {self.records.name(index)!r} could not be read when the latents "
                             "were encoded; save it again.")  # fmt: skip
        return found

    def _framed(self, index: int, shape: Shape, rng: Random) -> Framed:
        picture = self.records.picture(index)
        mask = self._own_mask(index, picture.size) if self.holes else None
        crop, flip = self.config.center_crop, self.config.flip
        return frame(picture, shape, center_crop=crop, flip=flip, rng=rng, mask=mask)

    def _own_mask(self, index: int, size: tuple[int, int]) -> Image.Image | None:
        mask = self.records.mask(index)
        if mask is not None and mask.size != size:
            raise UserError(f"the mask of training picture {self.records.name(index)!r} is {mask.width}x{mask.height}, "
                            f"the picture {size[0]}x{size[1]}; give masks of the pictures' sizes.")  # fmt: skip
        return mask

    def _drawn(self, position: int, shape: Shape) -> Tensor:
        """(1, height, width), 1 where to paint."""
        height, width = shape
        rng = np.random.default_rng(seed_of(self.config.seed, HOLE, position))
        drawn = hole((width, height), rng, whole=self.config.full_mask, scale=self.config.mask_scale)
        return torch.tensor(drawn, dtype=torch.float32)[None]


def collate(examples: list[Batch]) -> Batch:
    """Batches of one to one batch."""
    joined: dict[str, Any] = {}
    for name in (one.name for one in fields(Batch)):
        values = [getattr(example, name) for example in examples]
        if name == "captions":
            joined[name] = [caption for value in values for caption in value]
        else:
            joined[name] = None if values[0] is None else torch.cat(values)
    return Batch(**joined)


def loader(examples: Stage2Dataset, sampler: StreamBatchSampler, workers: int) -> Iterator[Batch]:
    """The endless stream of batches.

    Raises:
        UserError: a record cannot be used.
    """
    return load_batches(examples, sampler, collate, workers)
