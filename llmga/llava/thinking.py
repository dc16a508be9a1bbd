"""A reply that must ask for a picture, of a model that thinks aloud first."""

from collections.abc import Callable

from torch import Tensor

from llmga.llava.reasoning import CLOSE, OPEN
from llmga.llava.steering import Speaker, Steering
from llmga.llava.tokenization import decode

_MARK = 16  # tokens that a mark and the line ends beside it take at most


class SteeredAfterThought:
    """Chooses the tokens of one reply: freely while the model thinks, as `Steering` does afterwards.

    A thought that takes more than half of the room, or that would end the reply, is closed.

    Args:
        choose: logits (vocabulary,) -> token.
        room: how many tokens the reply may take, its thought included.
        words: how many of them may come before the start tag.
        opened: the chat template has begun the thought.

    Raises:
        UserError: when `room` does not hold the tags and a word.
    """

    def __init__(self, model: Speaker, choose: Callable[[Tensor], int], room: int, words: int, opened: bool):
        self._model, self._choose = model, choose
        self._steering = Steering(model, choose, room, words)
        self._latest = room // 2
        self._thinking, self._thought = opened, False
        self._ids: list[int] = []
        self._planned: list[int] = []

    def next(self, logits: Tensor, left: int) -> int:
        """The next token; as `Steering.next`."""
        token = self._think(logits, left) if self._thinking else self._steering.next(logits, left)
        self._ids.append(token)
        self._look(left - 1)
        return token

    def _think(self, logits: Tensor, left: int) -> int:
        token = self._choose(logits)
        if not self._planned and (left <= self._latest or token in self._model.stop_ids):
            self._planned = self._model.tokenizer(f"{CLOSE}\n\n", add_special_tokens=False)["input_ids"]
        return self._planned.pop(0) if self._planned else token

    def _look(self, left: int) -> None:
        """See whether the thought has begun, or come to its end."""
        if self._thinking and CLOSE in decode(self._ids[-_MARK:], self._model.tokenizer) and not self._planned:
            self._thinking, self._thought = False, True
            self._steering = Steering(self._model, self._choose, left, left // 2)
        elif not self._thought and len(self._ids) <= _MARK:
            self._thinking |= decode(self._ids, self._model.tokenizer).lstrip().startswith(OPEN)
