"""The endless stream of examples that a training reads.

Every decision about an example (order, crop, dropout, noise) is drawn from a generator seeded by its position in the
stream.  So a run that was cut off goes on exactly where it was, and nothing about the data has to be saved.
"""

from collections.abc import Iterator

import numpy as np

ORDER, EXAMPLE, NOISE, PAIR = range(4)  # purposes of a seed


def seed_of(*numbers: int) -> int:
    """One well-mixed seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Order:
    """Yields the (position, record) pairs of one process's forward passes, from a given pass on, without end.

    Each epoch is a fresh permutation; passes may span two epochs, so no record is left out.

    Args:
        records: how many there are; size: how many a pass takes.
    """

    def __init__(self, records: int, size: int, seed: int, *, first_pass: int = 0, rank: int = 0, processes: int = 1):
        self.records, self.size, self.seed = records, size, seed
        self.first = first_pass * size * processes + rank * size
        self.stride = size * processes

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
