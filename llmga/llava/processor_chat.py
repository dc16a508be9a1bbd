"""A conversation with any vision-language model of transformers."""

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image
from transformers import LogitsProcessorList, StoppingCriteriaList

from llmga.background import Reporter, reports_of
from llmga.llava.conversation import Conversation
from llmga.llava.generating import Choose, Chosen, Reply, StopWhen, Streamer
from llmga.llava.kept_reading import KeptReading
from llmga.llava.planner import USUAL, Cancelled, EndedBy, Planner, never
from llmga.llava.prefixes import common_prefix
from llmga.llava.reasoning import CLOSE, OPEN, without_reasoning
from llmga.llava.sampling import Sampling
from llmga.llava.steering import Steering
from llmga.llava.thinking import SteeredAfterThought
from llmga.llava.vlm import Vlm
from llmga.llava.windows import fitting


class ProcessorChat(Planner):
    """Replies through a processor's chat template and the model's own `generate`; see `KeptReading`.

    The system text is the model's (`Vlm.system`) where a conversation has none of its own; an empty one is none.
    """

    steers = True
    repairs = True
    ended_by: EndedBy

    def __init__(self, vlm: Vlm):
        self.vlm = vlm
        self.teaching: str = vlm.system
        self._kept = KeptReading(vlm)

    @property
    def context_length(self) -> int | None:
        """Tokens that the model reads at once; None where it does not say."""
        return self.vlm.context_length

    def check(self, sampling: Sampling) -> None:
        """See whether any reply can be as `sampling` wants it.

        Raises:
            UserError: where a picture must be asked for in fewer tokens than its tags and a word take, too.
        """
        super().check(sampling)
        if sampling.picture == "always":
            Steering(self.vlm, partial(sampling.choose, random=sampling.random()), sampling.max_new_tokens)

    def repair(
        self, conversation: Conversation, sampling: Sampling = USUAL, cancelled: Cancelled = never
    ) -> Generator[str]:
        """What is to follow the last reply so that it asks for a picture in a whole generation prompt.

        Raises:
            UserError: when there is no room for a prompt.
        """
        *earlier, reply = conversation.messages
        asked = replace(conversation, messages=tuple(earlier))
        return self._written(asked, reply.text, replace(sampling, picture="always"), cancelled)

    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Generator[str]:
        return self._written(conversation, None, sampling, cancelled)

    def _written(
        self, asked: Conversation, begun: str | None, sampling: Sampling, cancelled: Cancelled
    ) -> Generator[str]:
        """The reply, or what follows where it is begun.

        Args:
            begun: the answer so far, None where there is none yet.
        """
        thinks = self.vlm.opened(asked).rstrip().endswith(OPEN)
        start = "" if begun is None else f"{CLOSE}\n\n" * thinks + self.vlm.head(begun)
        inputs_of = partial(self.vlm.inputs, begun=start)
        context = self.vlm.context_length
        window, inputs = fitting(asked, inputs_of, context, sampling.max_new_tokens, _tokens)
        room = min(sampling.max_new_tokens, context - _tokens(inputs))
        written = self._ids_after(window, inputs) if start else []
        choose = self._chooser(sampling, room, None if begun is None else written, thinks)
        reply = Reply(self.vlm, choose, room, written)
        pieces = self._pieces(inputs, window.images(), reply, cancelled)
        return without_reasoning(pieces, thinks) if begun is None else pieces

    def _ids_after(self, window: Conversation, inputs: dict[str, Any]) -> list[int]:
        """The ids of the answer that the inputs begin."""
        ids: list[int] = inputs["input_ids"][0].tolist()
        return ids[common_prefix(self.vlm.inputs(window)["input_ids"][0].tolist(), ids) :]

    def _chooser(self, sampling: Sampling, room: int, written: list[int] | None, thinks: bool) -> Choose:
        """How the next token is chosen.

        Args:
            written: the ids of an answer that goes on, None of one that begins.
            thinks: the chat template has begun a thought.
        """
        choose = partial(sampling.choose, random=sampling.random())
        if sampling.picture == "auto":
            return lambda logits, left: choose(logits)
        if written is not None:
            return Steering(self.vlm, choose, room, begun=written).next
        words = room // 2  # the rest is for a picture, if one has to be asked for
        return SteeredAfterThought(self.vlm, choose, room, words, thinks).next

    def _pieces(
        self, inputs: dict[str, Any], images: tuple[Image.Image, ...], reply: Reply, cancelled: Cancelled
    ) -> Generator[str]:
        self.ended_by = "caller"

        def work(report: Reporter) -> None:
            generate: Any = self.vlm.model.generate  # every model has it that AutoModelForImageTextToText opens
            try:
                ids = generate(
                    **self._kept.unread(inputs, images),
                    max_new_tokens=reply.room,
                    do_sample=False,
                    num_beams=1,
                    eos_token_id=sorted(self.vlm.stop_ids) or None,
                    logits_processor=LogitsProcessorList([Chosen(self.vlm, reply)]),
                    stopping_criteria=StoppingCriteriaList([StopWhen(lambda: reply.over)]),
                    streamer=Streamer(reply, report),
                )
            except BaseException:
                self._kept.forget()  # some layers may hold the new tokens and others not
                raise
            self._kept.read(ids[0].tolist())
            if not reply.stopped.is_set():
                self.ended_by = "marker" if reply.ended else "limit"

        return reports_of(work, reply.stopped.set, cancelled)


def _tokens(inputs: dict[str, Any]) -> int:
    return inputs["input_ids"].shape[1]
