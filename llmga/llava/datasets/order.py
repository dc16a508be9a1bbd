"""In which order an epoch shows its samples."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

MEGABATCH = 50  # batches that are sorted together: more saves padding, fewer mixes better


class Shuffled(Sampler[int]):
    """All samples once per epoch in an order that follows from seed and epoch alone.

    The keys are `epoch * size + index`, which tells worker processes the epoch, too.

    Args:
        size: samples per epoch.
        lengths: with them, batches hold samples of like length and come in random order.
        batch_size: samples of one optimiser step, over all processes.
    """

    def __init__(self, size: int, *, seed: int, lengths: np.ndarray | None = None, batch_size: int = 1):
        self._size, self._seed, self._lengths, self._batch_size, self._epoch = size, seed, lengths, batch_size, 0

    def __len__(self) -> int:
        return self._size

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`, counted from 0."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = rng.permutation(self._size)
        if self._lengths is not None:
            order = _grouped(order, self._lengths, self._batch_size, rng)
        return iter((order + self._epoch * self._size).tolist())


def _grouped(order: np.ndarray, lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Sort within megabatches, then shuffle the batches; an incomplete last batch stays last."""
    whole = len(order) // batch_size * batch_size
    step = MEGABATCH * batch_size
    batches = []
    for start in range(0, whole, step):
        part = order[start : min(start + step, whole)]
        batches += list(part[np.argsort(lengths[part], kind="stable")].reshape(-1, batch_size))
    shuffled = [batches[index] for index in rng.permutation(len(batches))]
    return np.concatenate([*shuffled, order[whole:]])
