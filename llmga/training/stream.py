"""The endless stream of examples that a training reads, in an order that follows from the seed and the position alone.

Every decision about an example (order, crop, dropout, noise …) is drawn from a generator that is seeded by its position
in the stream.  So a run that was cut off goes on exactly where it was, and nothing about the data has to be saved.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np

from llmga.errors import UserError

ORDER, EXAMPLE, NOISE, HOLE = range(4)  # purposes of a seed
LARGEST_SEED = 2**63 - 1  # that every generator takes
PAIR = HOLE  # what is spoilt in a picture, whichever way a training spoils it

Pass = list[tuple[int, int]]  # (position, record) of each example of one forward pass


def seed_of(*numbers: int) -> int:
    """One well-mixed seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def shuffled(records: int, seed: int, epoch: int) -> np.ndarray:
    """The records in the order of an epoch."""
    return np.random.default_rng(seed_of(seed, ORDER, epoch)).permutation(records)


class StreamBatchSampler:
    """Samples the forward passes of one process, from a given one on, without end.

    Each epoch is a fresh permutation; passes may span two epochs, so no record is left out.

    Args:
        records: how many there are.
        size: examples of a pass and process.
        seed: of the permutations.
        first_pass: passes that are done.
        rank: number of this process, from 0.
        processes: how many train together; they see what one would.
    """

    def __init__(self, records: int, size: int, seed: int, *, first_pass: int = 0, rank: int = 0, processes: int = 1):
        self._records, self._size, self._seed = records, size, seed
        self._first, self._rank, self._stride = first_pass, rank, size * processes

    def __iter__(self) -> Iterator[Pass]:
        epoch, order = -1, np.empty(0, dtype=int)
        for number in count(self._first):
            chosen = []
            start = number * self._stride + self._rank * self._size
            for position in range(start, start + self._size):
                if position // self._records != epoch:
                    epoch = position // self._records
                    order = shuffled(self._records, self._seed, epoch)
                chosen.append((position, int(order[position % self._records])))
            yield chosen


class BucketBatchSampler(StreamBatchSampler):
    """Samples passes whose examples are of one kind.

    A kind whose records do not fill its last pass fills it with records of that kind from the start of the epoch, so
    that every epoch has as many passes and every record is seen in each.

    Args:
        kinds: for each record what it must have in common with its pass.
        size: examples of a pass and process.
        seed: of the permutations.
        position: `first_pass`, `rank` and `processes` of a `StreamBatchSampler`.
    """

    def __init__(self, kinds: Sequence[int], size: int, seed: int, **position: int):
        super().__init__(len(kinds), size, seed, **position)
        self._kinds = np.asarray(kinds)
        self.passes: int = sum(-(-int(members) // self._stride) for members in np.bincount(self._kinds))

    def __iter__(self) -> Iterator[Pass]:
        epoch, plan = -1, list[np.ndarray]()
        for number in count(self._first):
            if number // self.passes != epoch:
                epoch = number // self.passes
                plan = self._plan(epoch)
            start = number * self._stride + self._rank * self._size
            mine = plan[number % self.passes][self._rank * self._size : (self._rank + 1) * self._size]
            yield [(start + offset, int(record)) for offset, record in enumerate(mine)]

    def _plan(self, epoch: int) -> list[np.ndarray]:
        """The records of each pass of an epoch, all processes together."""
        order = shuffled(self._records, self._seed, epoch)
        passes: list[np.ndarray] = []
        for kind in np.unique(self._kinds):
            members = order[self._kinds[order] == kind]
            whole = np.resize(members, -(-len(members) // self._stride) * self._stride)  # repeats from the start
            passes += np.split(whole, len(whole) // self._stride)
        mixed = np.random.default_rng(seed_of(self._seed, ORDER, epoch, 1)).permutation(len(passes))
        return [passes[place] for place in mixed]


def load_batches(
    dataset: Any, sampler: StreamBatchSampler, collate: Callable[[list[Any]], Any], workers: int
) -> Iterator[Any]:
    """The endless stream of batches.

    Args:
        dataset: (position, record) -> example.
        sampler: which examples make a batch.
        collate: a list of examples -> batch.
        workers: processes that read; 0 reads in this one.

    Raises:
        UserError: a record cannot be used.
    """
    from torch.utils.data import DataLoader

    try:
        yield from DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
    except UserError as problem:
        raise without_traceback(problem) from None


def without_traceback(problem: UserError) -> UserError:
    """What a loader's process raised comes as that process's traceback, with the sentence at its end."""
    return UserError(str(problem).rpartition(f"{UserError.__name__}: ")[2].strip())
