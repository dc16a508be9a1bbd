"""How the next token is chosen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llmga.choices import PICTURE
from llmga.errors import UserError

_HOTTEST = 5.0
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the likeliest token; up to 5.
        top_p: only the likeliest tokens that together reach this probability are considered; above 0, up to 1.
        max_new_tokens: the longest answer, at least 1.
        seed: the same seed gives the same answer; None draws another one each time.
        picture: "auto" leaves it to the model whether it asks for a picture; with "always" every answer holds a whole
            generation prompt, whatever the model's weights (`llmga.llava.steering`).

    Raises:
        UserError: for a value out of its range.
    """

    temperature: float = 0.2
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int | None = None
    picture: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= _HOTTEST:
            raise UserError(f"temperature {self.temperature} is out of range; use 0 (greedy) to {_HOTTEST:g}.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p {self.top_p} is out of range; use a value above 0, up to 1.")
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens {self.max_new_tokens} is out of range; use at least 1.")
        if self.seed is not None and not 0 <= self.seed <= _LARGEST_SEED:
            raise UserError(f"seed {self.seed} is out of range; use 0 to {_LARGEST_SEED}.")
        if self.picture not in PICTURE:
            raise UserError(f"picture {self.picture!r} is unknown; use {' or '.join(PICTURE)}.")

    def random(self) -> torch.Generator:
        """A source on the CPU, so that every device draws the same numbers."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
            return generator
        return generator.manual_seed(self.seed)

    def choose(self, logits: Tensor, random: torch.Generator) -> int:
        """The next token from its logits (vocabulary,), whose device is waited for once, for the token.

        Drawn as `torch.multinomial` does, by a race of exponential variables (its own way for one draw), but without
        the waiting for its checks; the variables come from the CPU, while the device still computes the logits.

        Raises:
            RuntimeError: when the logits are no numbers, as those of ruined weights.
        """
        if self.temperature == 0:
            return int(logits.argmax())
        race = torch.empty(len(logits)).exponential_(generator=random).to(logits.device, non_blocking=True)
        probabilities = ((logits - logits.max()) / self.temperature).softmax(-1)
        likeliest, tokens = probabilities.sort(descending=True, stable=True)
        before = likeliest.cumsum(-1) - likeliest
        likeliest = likeliest.masked_fill(before >= self.top_p, 0.0)
        token = int(tokens.gather(0, (likeliest / race).argmax(keepdim=True)).masked_fill(before[-1:].isnan(), -1))
        if token < 0:
            raise RuntimeError("the model's scores of the next token are no numbers; its weights are ruined.")
        return token
