"""A conversation with any vision-language model of transformers."""

from collections.abc import Callable, Generator
from threading import Event
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation import BaseStreamer

from llmga.background import Reporter, reports_of
from llmga.llava.conversation import Conversation
from llmga.llava.planner import Cancelled, EndedBy, Planner
from llmga.llava.reasoning import without_reasoning
from llmga.llava.sampling import Sampling
from llmga.llava.streaming import StreamDecoder
from llmga.llava.vlm import Vlm
from llmga.llava.windows import fitting


class ProcessorChat(Planner):
    """Replies through a processor's chat template and the model's own `generate`.

    Everything is read anew in each turn: which ids a processor makes of a picture, and how a model counts their
    positions, differs too much between models to keep a cache.
    The system text is the model's (`Vlm.system`) where a conversation has none of its own; an empty one is none.
    """

    ended_by: EndedBy

    def __init__(self, vlm: Vlm):
        self.vlm = vlm
        self.teaching: str = vlm.system

    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Generator[str]:
        context = self.vlm.context_length
        _, inputs = fitting(conversation, self.vlm.inputs, context, sampling.max_new_tokens, _tokens)
        room = min(sampling.max_new_tokens, context - _tokens(inputs))
        return without_reasoning(self._pieces(inputs, sampling, room, cancelled))

    def _pieces(self, inputs: dict[str, Any], sampling: Sampling, room: int, cancelled: Cancelled) -> Generator[str]:
        stopped = Event()
        self.ended_by = "caller"

        def work(report: Reporter) -> None:
            streamer = _Streamer(self.vlm, report, stopped)
            generate: Any = self.vlm.model.generate  # every model has it that AutoModelForImageTextToText opens
            generate(
                **inputs,
                max_new_tokens=room,
                do_sample=False,
                num_beams=1,
                eos_token_id=sorted(self.vlm.stop_ids) or None,
                logits_processor=LogitsProcessorList([_Chosen(self.vlm, sampling)]),
                stopping_criteria=StoppingCriteriaList([streamer.criterion]),
                streamer=streamer,
            )
            if not stopped.is_set():
                self.ended_by = "marker" if streamer.ended else "limit"

        return reports_of(work, stopped.set, cancelled)


def _tokens(inputs: dict[str, Any]) -> int:
    return inputs["input_ids"].shape[1]


class _Chosen(LogitsProcessor):
    """Our own choice of the next token as the only one left, so that a seed means the same in every chat."""

    def __init__(self, vlm: Vlm, sampling: Sampling):
        self._sampling, self._random = sampling, sampling.random()
        self._picture = getattr(vlm.model.config, "image_token_id", None)
        rows = len(vlm.processor.tokenizer)  # rows beyond the tokenizer mean nothing
        # How many numbers are drawn depends on the rows: a model of ours that was converted has one more, at the end.
        self._known = rows - 1 if self._picture == rows - 1 else rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores[0, : self._known].float()
        if self._picture is not None and self._picture < self._known:
            logits[self._picture] = -torch.inf  # a picture cannot be written
        forced = torch.full_like(scores, -torch.inf)
        forced[0, self._sampling.choose(logits, self._random)] = 0
        return forced


class _Streamer(BaseStreamer):
    """Ids from `generate` to text in pieces; its criterion ends the answer."""

    def __init__(self, vlm: Vlm, report: Reporter, stopped: Event):
        self._decoder, self._report = StreamDecoder(vlm.processor.tokenizer, vlm.template), report
        self._stop_ids, self._stopped = vlm.stop_ids, stopped
        self._prompt_seen = self._by_marker = False

    def put(self, value: Tensor) -> None:
        if not self._prompt_seen:  # generate begins with what it was given
            self._prompt_seen = True
            return
        for token in value.flatten().tolist():
            self._by_marker = token in self._stop_ids
            self._tell("" if self._by_marker else self._decoder.push(token))

    def end(self) -> None:
        if not self._decoder.ended:
            self._tell(self._decoder.close(self._by_marker))

    @property
    def ended(self) -> bool:
        """The model said that its answer is at its end."""
        return self._by_marker or self._decoder.ended

    def _tell(self, piece: str) -> None:
        if piece:
            self._report(piece)

    @property
    def criterion(self) -> StoppingCriteria:
        return _StopWhen(lambda: self._stopped.is_set() or self._decoder.ended)


class _StopWhen(StoppingCriteria):
    def __init__(self, ended: Callable[[], bool]):
        self._ended = ended

    def __call__(self, input_ids: Tensor, scores: Tensor, **rest: object) -> Tensor:
        return torch.full((len(input_ids),), self._ended(), dtype=torch.bool, device=input_ids.device)
