"""Captions of tags, `1girl, red hair, park`: shuffled and thinned out as kohya's scripts do."""

from dataclasses import dataclass
from random import Random

SEPARATOR = ","


@dataclass(frozen=True)
class Tags:
    """What is done to the tags of a caption each time it is seen.

    Attributes:
        shuffle: mix their order.
        keep: how many at the front stay there, and stay.
        dropout: how often each of the others is left out.
    """

    shuffle: bool = False
    keep: int = 0
    dropout: float = 0.0

    def __bool__(self) -> bool:
        return self.shuffle or self.dropout > 0

    def __call__(self, caption: str, rng: Random) -> str:
        """The caption as it is seen this time."""
        tags = [tag.strip() for tag in caption.split(SEPARATOR)]
        kept, others = tags[: self.keep], tags[self.keep :]
        if self.shuffle:
            rng.shuffle(others)
        others = [tag for tag in others if rng.random() >= self.dropout]
        return f"{SEPARATOR} ".join(kept + others)
