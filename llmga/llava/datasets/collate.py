"""Samples of unequal length become one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image

from llmga.llava.datasets.mixture import Sample
from llmga.llava.tokenization import IGNORED


@dataclass(frozen=True)
class Collate:
    """Pads to the longest sample.

    Attributes:
        pad_token_id: fills `input_ids` outside the sample; labels there are -100, mask and positions 0.
        pixel_values: pictures -> (pictures, 3, side, side).
        padding_side: "right" for training; "left" for generating, where all samples have to end together.
    """

    pad_token_id: int
    pixel_values: Callable[[Sequence[Image.Image]], torch.Tensor]
    padding_side: Literal["right", "left"] = "right"

    def __call__(self, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """`input_ids`, `labels`, `attention_mask` and `position_ids` of (batch, longest); `pixel_values` if any."""
        lengths = [len(sample.input_ids) for sample in samples]
        batch = {
            "input_ids": self._padded([sample.input_ids for sample in samples], self.pad_token_id),
            "labels": self._padded([sample.labels for sample in samples], IGNORED),
            "attention_mask": self._padded([[1] * length for length in lengths], 0),
            "position_ids": self._padded([list(range(length)) for length in lengths], 0),
        }
        if images := [image for sample in samples for image in sample.images]:
            batch["pixel_values"] = self.pixel_values(images)
        return batch

    def _padded(self, rows: Sequence[list[int]], filling: int) -> torch.Tensor:
        longest = max(map(len, rows))
        gaps = [[filling] * (longest - len(row)) for row in rows]
        left = self.padding_side == "left"
        filled = [gap + row if left else row + gap for row, gap in zip(rows, gaps, strict=True)]
        return torch.tensor(filled, dtype=torch.long)
