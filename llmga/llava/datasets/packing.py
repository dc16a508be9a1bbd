"""Several samples in one row: no padding, and every sample still sees only itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Sampler

from llmga.errors import UserError
from llmga.llava.datasets.mixture import Sample
from llmga.llava.tokenization import IGNORED

TOLERATED = 0.06  # share of padding that one batch may have for shorter rows, whose block masks are smaller


class Packs(Sampler[tuple[int, ...]]):
    """Every sample once per epoch, in packs of like numbers of tokens.

    The shuffled samples are laid end to end and cut into pieces of one length; a sample belongs where its middle lies.
    So the order is as random as without packs, a step takes as many samples in the mean, and an epoch has always the
    same number of packs.  The keys in a pack are `epoch * size + index`.

    Args:
        lengths: tokens of each sample, roughly.
        batch: samples per pack, in the mean.
        multiple: the number of packs is a multiple of it, so that all optimiser steps are whole.

    Raises:
        UserError: when there are fewer samples than packs.
    """

    def __init__(self, lengths: np.ndarray, *, seed: int, batch: int, multiple: int = 1):
        self._lengths, self._seed, self._epoch = np.maximum(lengths, 1), seed, 0
        self._count = -(-len(lengths) // (batch * multiple)) * multiple
        if self._count > len(lengths):
            raise UserError(
                f"{len(lengths)} samples are too few for packs on {multiple} forward passes a step; "
                "lower --accumulation or the number of processes."
            )

    def __len__(self) -> int:
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`, counted from 0."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._lengths))
        ends = np.cumsum(self._lengths[order])
        middles = ends - self._lengths[order] / 2
        starts = _not_empty(np.searchsorted(middles, np.arange(self._count) * ends[-1] / self._count), len(order))
        for pack in np.split(order + self._epoch * len(order), starts[1:]):
            yield tuple(pack.tolist())


def _not_empty(starts: np.ndarray, size: int) -> np.ndarray:
    """Where packs start, moved as little as gives each at least one sample."""
    places = np.arange(len(starts))
    growing = np.maximum.accumulate(starts - places) + places
    return np.minimum(growing, size - len(starts) + places)


class PackedSamples(Dataset[list[Sample]]):
    """Packs of keys to packs of samples."""

    def __init__(self, data: Dataset[Sample], packs: int):
        self._data, self._packs = data, packs

    def __len__(self) -> int:
        return self._packs

    def __getitem__(self, keys: Sequence[int]) -> list[Sample]:
        return [self._data[key] for key in keys]


@dataclass(frozen=True)
class PackCollate:
    """Packs, or single samples, side by side in as few or as many rows as leave next to no padding.

    There is no attention mask: `segments` and positions that start anew say where a sample begins.  From the positions
    transformers makes block masks, or the lengths that flash attention takes; `packed_attention` reads the segments.

    Attributes:
        pad_token_id: fills `input_ids` behind the last sample of a row; its labels are -100, its positions 0.
        pixel_values: pictures -> (pictures, 3, side, side).
        one_row: always; the right choice for flash attention, whose cost does not grow with the row.
    """

    pad_token_id: int
    pixel_values: Callable[[Sequence[Image.Image]], torch.Tensor]
    one_row: bool = False

    def __call__(self, items: Sequence[Sample | list[Sample]]) -> dict[str, Any]:
        """`input_ids`, `labels`, `position_ids` of (rows, longest row); `segments`, the samples' lengths by row;
        `pixel_values`, if any, in the rows' order.
        """
        samples = [sample for item in items for sample in (item if isinstance(item, list) else [item])]
        lengths = [len(sample.input_ids) for sample in samples]
        rows = [[samples[index] for index in row] for row in (_rows(lengths, 1) if self.one_row else arranged(lengths))]
        batch: dict[str, Any] = {
            "input_ids": _filled([_joined(sample.input_ids for sample in row) for row in rows], self.pad_token_id),
            "labels": _filled([_joined(_own_labels(sample) for sample in row) for row in rows], IGNORED),
            "position_ids": _filled([_joined(range(len(sample.input_ids)) for sample in row) for row in rows], 0),
            "segments": [[len(sample.input_ids) for sample in row] for row in rows],
        }
        if images := [image for row in rows for sample in row for image in sample.images]:
            batch["pixel_values"] = self.pixel_values(images)
        return batch


def arranged(lengths: Sequence[int]) -> list[list[int]]:
    """Which samples share a row: the most rows, so the shortest, whose padding is tolerated."""
    for count in range(sum(lengths) // max(lengths), 1, -1):
        rows = _rows(lengths, count)
        if padding(rows, lengths) <= TOLERATED:
            return rows
    return _rows(lengths, 1)


def padding(rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    """The share of positions in these rows that hold no token."""
    longest = max(sum(lengths[index] for index in row) for row in rows)
    return 1 - sum(lengths) / (longest * len(rows))


def _rows(lengths: Sequence[int], count: int) -> list[list[int]]:
    """The longest first, each into the row that is the shortest so far."""
    rows: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        row = filled.index(min(filled))
        rows[row].append(index)
        filled[row] += lengths[index]
    return rows


def _own_labels(sample: Sample) -> list[int]:
    """Nobody foretells a sample's first token: the one before it belongs to a stranger."""
    return [IGNORED, *sample.labels[1:]]


def _joined(parts: Iterator[Sequence[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


def _filled(rows: Sequence[list[int]], filling: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [filling] * (longest - len(row)) for row in rows], dtype=torch.long)
