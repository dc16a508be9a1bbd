"""CleanBatch pictures for training: a list of files, cut to squares together with their masks."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from llmga.diffrir.train.config import RestorerConfig
from llmga.errors import UserError
from llmga.extras import require
from llmga.filetypes import file_type
from llmga.fingerprints import digest
from llmga.images import open_image
from llmga.training.skipped import SkippedImages, Unreadable
from llmga.training.stream import EXAMPLE, seed_of


@dataclass(frozen=True)
class CleanBatch:
    """A batch of clean pictures, and the masks that came with them.

    Attributes:
        pictures: (B, 3, side, side), uint8.
        masks: (B, 1, side, side), uint8, 1 where painted; None where they are to be drawn.
    """

    pictures: Tensor
    masks: Tensor | None = None


def read_list(path: str | Path) -> list[str]:
    """The paths of a list, one a line.

    Raises:
        UserError: it cannot be read, or is empty.
    """
    if kind := file_type(path):
        raise UserError(f"the list of pictures {str(path)!r} is {kind.said}, not a text of names; {kind.remedy}.")
    try:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"the list of pictures {str(path)!r} cannot be read; make it with llmga.diffrir.listing."
        ) from None
    if not names:
        raise UserError(f"the list of pictures {str(path)!r} is empty; make it with llmga.diffrir.listing.")
    return names


def square(side: int, *, random: bool = True) -> Any:
    """The published transform as an albumentations pipeline for a picture and, if there is one, its mask.

    Mirrored every other time, filled up by reflection at the right and the bottom, cut anywhere; or, when nothing is
    to be random, cut from the middle.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for a newer one
    albumentations = require("albumentations", "reading training pictures")
    steps = [
        albumentations.PadIfNeeded(side, side, position="top_left", border_mode=4),  # 4: OpenCV's reflect-101
        albumentations.RandomCrop(side, side) if random else albumentations.CenterCrop(side, side),
    ]
    flip = [albumentations.HorizontalFlip(p=0.5)] if random else []
    return albumentations.Compose(flip + steps)


class RestorerDataset(Dataset[CleanBatch]):
    """A picture of the list, at a position of the stream, to a batch of one.

    One that is damaged or not there, or whose mask is, ends no run: the next of the list takes its place.

    Raises:
        UserError: the list is not there, no picture of it can be used, or a mask has another size.
    """

    def __init__(self, config: RestorerConfig):
        self.config = config
        self.names: list[str] = read_list(config.data)
        self.square: Any = square(config.picture)
        self.skipped: SkippedImages = SkippedImages(config.run)

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """Of the list."""
        return digest(self.names)

    def __getitem__(self, key: tuple[int, int]) -> CleanBatch:
        position, index = key
        count = len(self.names)
        candidates = (other % count for other in range(index, index + count))
        return self.skipped.first_usable(
            candidates, lambda other: self._cut(position, self.names[other]), self.names.__getitem__
        )

    def _cut(self, position: int, name: str) -> CleanBatch:
        self.square.set_random_seed(seed_of(self.config.seed, EXAMPLE, position) % 2**32)
        return cut(self.square, *self._read(name))

    def _read(self, name: str) -> tuple[Image.Image, Image.Image | None]:
        picture = opened(Path(self.config.images, name))
        if self.config.masks is None:
            return picture, None
        mask = opened(_mask_of(Path(self.config.masks), name)).convert("L")
        if mask.size != picture.size:
            raise UserError(f"the mask of {name!r} is {mask.width}x{mask.height}, but the picture is "
                            f"{picture.width}x{picture.height}; give one of the picture's size.")  # fmt: skip
        return picture, mask


def opened(path: Path) -> Image.Image:
    """RGB, upright, every pixel kept.

    Raises:
        Unreadable: it is damaged or not there.
    """
    try:
        return open_image(path, working_side=None)
    except UserError as problem:
        raise Unreadable(str(problem)) from None


def _mask_of(folder: Path, name: str) -> Path:
    """A mask of the picture's name, as PNG whatever the picture is."""
    return (folder / name).with_suffix(".png")


def cut(transform: Any, picture: Image.Image, mask: Image.Image | None = None) -> CleanBatch:
    """Picture and mask through the same transform."""
    given = {"image": np.asarray(picture)} | ({} if mask is None else {"mask": np.asarray(mask)})
    made = transform(**given)
    pictures = torch.from_numpy(made["image"].copy()).permute(2, 0, 1)[None]
    return CleanBatch(pictures, None if mask is None else torch.from_numpy(made["mask"] >= 128)[None, None].byte())


def collate(examples: list[CleanBatch]) -> CleanBatch:
    """Batches of one to one batch."""
    masks = [example.masks for example in examples if example.masks is not None]
    return CleanBatch(torch.cat([example.pictures for example in examples]), torch.cat(masks) if masks else None)
