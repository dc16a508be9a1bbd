"""Samples of unequal length become one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from llmga.llava.datasets.mixture import Sample
from llmga.llava.tokenization import IGNORED


@dataclass(frozen=True)
class Collate:
    """Pads on the right to the longest sample.

    Attributes:
        pad_token_id: fills `input_ids` behind the end; labels there are -100 and the mask is 0.
        pixel_values: pictures -> (pictures, 3, side, side).
    """

    pad_token_id: int
    pixel_values: Callable[[Sequence[Image.Image]], torch.Tensor]

    def __call__(self, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """`input_ids`, `labels`, `attention_mask` of (batch, longest) and, if there is any picture, `pixel_values`."""
        longest = max(len(sample.input_ids) for sample in samples)
        batch = {
            "input_ids": _padded([sample.input_ids for sample in samples], longest, self.pad_token_id),
            "labels": _padded([sample.labels for sample in samples], longest, IGNORED),
            "attention_mask": _padded([[1] * len(sample.input_ids) for sample in samples], longest, 0),
        }
        if images := [image for sample in samples for image in sample.images]:
            batch["pixel_values"] = self.pixel_values(images)
        return batch


def _padded(rows: Sequence[list[int]], longest: int, filling: int) -> torch.Tensor:
    return torch.tensor([row + [filling] * (longest - len(row)) for row in rows], dtype=torch.long)
