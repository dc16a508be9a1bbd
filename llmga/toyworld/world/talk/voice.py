"""Who speaks: a language, a source of chance, and phrasings of which some are kept for tests."""

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

LANGUAGES = ("en", "zh")
TRAIN, TEST = SPLITS = ("train", "test")
KEPT = 0.15  # share of every row that training never sees
LEAST = 3  # phrasings that a row needs before one is kept


def _hash(text: str) -> float:
    """A number from 0 to 1 that follows from the words alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def _speaks(text: str) -> bool:
    """Whether a phrasing has words beside its slots."""
    return any(letter.isalpha() for letter in re.sub(r"\{\w+\}", "", text))


class Phrases:
    """Phrasings that mean the same.

    Attributes:
        train: what training sees.
        test: what it never sees: those whose words have small hashes, at least one of a row.
    """

    def __init__(self, *said: str):
        ordered = sorted((text for text in set(said) if _speaks(text)), key=_hash)
        small = tuple(text for text in ordered if _hash(text) < KEPT)
        self.test: tuple[str, ...] = (small or tuple(ordered[:1])) if len(said) >= LEAST else ()
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
