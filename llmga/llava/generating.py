"""A reply out of transformers' own `generate`: our choice of each token, and its text in pieces."""

from collections.abc import Callable, Sequence
from threading import Event

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria
from transformers.generation import BaseStreamer

from llmga.background import Reporter
from llmga.llava.streaming import StreamDecoder
from llmga.llava.vlm import Vlm

Choose = Callable[[Tensor, int], int]  # (logits, tokens left) -> the next token


class Reply:
    """A reply that is being written.

    Attributes:
        choose: the next token.
        room: how many tokens it may take.
        stopped: whoever asked has had enough.
    """

    def __init__(self, vlm: Vlm, choose: Choose, room: int, written: Sequence[int]):
        self.choose, self.room, self.stopped = choose, room, Event()
        self._decoder = StreamDecoder(vlm.tokenizer, vlm.template, written)
        self._stop_ids = vlm.stop_ids
        self._left, self._by_marker = room, False

    def next(self, logits: Tensor) -> int:
        """The next token from its logits (vocabulary,)."""
        token = self.choose(logits, self._left)
        self._left -= 1
        return token

    def push(self, token: int) -> str:
        """The text that one more token makes certain."""
        self._by_marker = token in self._stop_ids
        return "" if self._by_marker else self._decoder.push(token)

    def close(self) -> str:
        """The rest of the text."""
        return "" if self._decoder.ended else self._decoder.close(self._by_marker)

    @property
    def ended(self) -> bool:
        """The model said that its answer is at its end."""
        return self._by_marker or self._decoder.ended

    @property
    def over(self) -> bool:
        """No token is wanted any more."""
        return self.stopped.is_set() or self._decoder.ended


class Chosen(LogitsProcessor):
    """Our own choice of the next token as the only one left, so that a seed means the same in every chat."""

    def __init__(self, vlm: Vlm, reply: Reply):
        self._reply, self._picture = reply, vlm.image_token_id
        rows = len(vlm.tokenizer)  # rows beyond the tokenizer mean nothing
        # How many numbers are drawn depends on the rows: a model of ours that was converted has one more, at the end.
        self._known = rows - 1 if self._picture == rows - 1 else rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores[0, : self._known].float()
        if self._picture is not None and self._picture < self._known:
            logits[self._picture] = -torch.inf  # a picture cannot be written
        forced = torch.full_like(scores, -torch.inf)
        forced[0, self._reply.next(logits)] = 0
        return forced


class Streamer(BaseStreamer):
    """Ids from `generate` to text in pieces."""

    def __init__(self, reply: Reply, report: Reporter):
        self._reply, self._report = reply, report
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:
        if not self._prompt_seen:  # generate begins with what it was given
            self._prompt_seen = True
            return
        for token in value.flatten().tolist():
            self._tell(self._reply.push(token))

    def end(self) -> None:
        self._tell(self._reply.close())

    def _tell(self, piece: str) -> None:
        if piece:
            self._report(piece)


class StopWhen(StoppingCriteria):
    """Ends `generate` once this is true."""

    def __init__(self, ended: Callable[[], bool]):
        self._ended = ended

    def __call__(self, input_ids: Tensor, scores: Tensor, **rest: object) -> Tensor:
        return torch.full((len(input_ids),), self._ended(), dtype=torch.bool, device=input_ids.device)
