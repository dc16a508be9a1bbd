"""Who speaks: a language, a source of chance, and phrasings of which some are kept for tests."""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

LANGUAGES = ("en", "zh")
TRAIN, TEST = SPLITS = ("train", "test")
KEPT = 0.15  # share of every row that training never sees
LEAST = 3  # phrasings that a row needs before one is kept


class Phrases:
    """Phrasings that mean the same.

    Attributes:
        train: what training sees.
        test: what it never sees: those with the smallest hashes of their words.
    """

    def __init__(self, *said: str):
        ordered = sorted(said, key=lambda text: hashlib.sha256(text.encode()).digest())
        kept = ceil(KEPT * len(said)) if len(said) >= LEAST else 0
        self.test: tuple[str, ...] = tuple(ordered[:kept])
        self.train: tuple[str, ...] = tuple(text for text in said if text not in self.test)


Row = Mapping[str, Phrases]


def row(en: tuple[str, ...] | str, zh: tuple[str, ...] | str) -> Row:
    """The same in both languages."""
    english, chinese = ((said,) if isinstance(said, str) else said for said in (en, zh))
    return {"en": Phrases(*english), "zh": Phrases(*chinese)}


@dataclass(frozen=True)
class Voice:
    """One who speaks.

    Args:
        language: a row of `LANGUAGES`.
        split: `train`, or `test` for phrasings that are kept for tests, wherever a row has some.
    """

    language: str
    rng: random.Random
    split: str = TRAIN

    def pick(self, said: Row, **slots: str) -> str:
        """One of a row's phrasings, its slots filled."""
        phrases = said[self.language]
        kept = phrases.test if self.split == TEST and phrases.test else phrases.train
        return self.rng.choice(kept).format(**slots)

    def chance(self, share: float) -> bool:
        """True in that share of all cases."""
        return self.rng.random() < share

    @property
    def is_english(self) -> bool:
        """Whether words are set apart by spaces."""
        return self.language == "en"
