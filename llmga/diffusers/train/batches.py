"""What becomes of the records that a forward pass sees."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from llmga.diffusers.datasets.captioned import Captioned
from llmga.diffusers.datasets.framing import Framed, frame
from llmga.diffusers.datasets.holes import hole
from llmga.diffusers.datasets.shapes import Shape, Shapes
from llmga.diffusers.train.config import TrainConfig
from llmga.diffusers.train.latent_cache import CachedLatents
from llmga.errors import UserError
from llmga.passed_over import PassedOver, Unreadable
from llmga.training.stream import EXAMPLE, HOLE, Order, seed_of


@dataclass(frozen=True)
class Batch:
    """Examples of one forward pass; `pixels`, or `mean` and `std`, or all of them are there.

    Attributes:
        dropped: (batch,) bool, whose caption is left out.
        time_ids: (batch, 6), see `framing.Framed`.
        pixels: (batch, 3, height, width) in [-1, 1].
        masks: (batch, 1, height, width), 1 where an inpainting model has to paint, else 0.
        mean, std: (batch, channels, height, width) of the cached latents.
    """

    captions: list[str]
    dropped: Tensor
    time_ids: Tensor
    pixels: Tensor | None = None
    masks: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None


class Examples(Dataset):
    """A record, at a position of the stream, to a batch of one.

    A damaged picture ends no run: the next record of its shape takes its place, or when there is none, another one
    in that shape.

    Args:
        cached: where pictures are read from instead, those that could not be read before being known.
        holes: whether pictures come with a region that is to be filled.
    """

    def __init__(
        self,
        records: Captioned,
        config: TrainConfig,
        shapes: Shapes,
        cached: CachedLatents | None = None,
        *,
        holes: bool = False,
    ):
        self.records, self.config, self.shapes = records, config, shapes
        self.cached, self.holes = cached, holes
        self.passed_over = PassedOver(config.run)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        position, index = key
        shape = self.shapes[index]
        return self.passed_over.first_usable(
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
        given = {"captions": [self.records.caption(index, rng)], "dropped": dropped}
        if self.cached is not None:
            given |= self._latents(index, shape)
        if self.cached is None or self.holes:
            framed = self._framed(index, shape, rng)
            given |= {"time_ids": torch.tensor([framed.time_ids]), "pixels": framed.pixels[None]}
        if self.holes:
            given["masks"] = (self._drawn(position, shape) if framed.mask is None else framed.mask)[None]
        return Batch(**given)

    def _latents(self, index: int, shape: Shape) -> dict[str, Tensor]:
        found = self.cached.at(index, shape)
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
        chance = np.random.default_rng(seed_of(self.config.seed, HOLE, position))
        drawn = hole((width, height), chance, whole=self.config.full_mask, scale=self.config.mask_scale)
        return torch.tensor(drawn, dtype=torch.float32)[None]


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
    """The endless stream of batches.

    Raises: UserError for a record that cannot be used, as it is: PyTorch would wrap a worker's into its traceback.
    """
    for batch in DataLoader(_Told(examples), batch_sampler=order, collate_fn=_collate_told, num_workers=workers):
        if isinstance(batch, UserError):
            raise batch
        yield batch


class _Told(Dataset):
    """Examples, or the person's mistakes that they show."""

    def __init__(self, examples: Examples):
        self.examples = examples

    def __getitem__(self, key: tuple[int, int]) -> Batch | UserError:
        try:
            return self.examples[key]
        except UserError as problem:
            return problem


def _collate_told(examples: list[Batch | UserError]) -> Batch | UserError:
    return next((each for each in examples if isinstance(each, UserError)), None) or collate(examples)
