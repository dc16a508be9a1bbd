"""What a model would learn from a conversation: its labels against the words that are meant."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from itertools import pairwise

from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.generation_prompt import END, START
from llmga.llava.inspection.pictures import Complaint
from llmga.llava.inspection.words import quoted
from llmga.llava.mllm import Mllm
from llmga.llava.tokenization import IGNORED, Encoded, decode

SHORTEST_MARK = 3  # characters; shorter ones stand in many texts


@dataclass(frozen=True)
class SampleStatistics:
    """What a sample teaches.

    Attributes:
        tokens: of the sample within the length limit, pictures included.
        supervised: how many of them are learnt.
        opens: whether what is learnt opens a picture prompt.
        closes: whether it closes one.
        beyond: what the limit takes.
    """

    tokens: int
    supervised: int
    opens: bool
    closes: bool
    beyond: "Truncation"


@dataclass(frozen=True)
class Truncation:
    """What of some samples lies beyond the length limit.

    Attributes:
        tokens: supervised ones, of how many; answers: that are not learnt whole, of how many.
    """

    tokens: int = 0
    of_tokens: int = 0
    answers: int = 0
    of_answers: int = 0

    def __add__(self, other: "Truncation") -> "Truncation":
        return Truncation(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        return (
            f"{self.tokens} of {self.of_tokens} supervised tokens are lost, and {self.answers} of {self.of_answers} "
            "answers are not learnt whole"
        )


def beyond(encoded: Encoded, max_length: int) -> Truncation:
    """What of a sample is cut off."""
    learnt = [place for place, label in enumerate(encoded.labels) if label != IGNORED]
    ends = [place for place, after in pairwise([*learnt, len(encoded.labels) + 1]) if after != place + 1]
    lost = ([place for place in places if place >= max_length] for places in (learnt, ends))
    tokens, answers = map(len, lost)
    return Truncation(tokens, len(learnt), answers, len(ends))


def lesson(encoded: Encoded, mllm: Mllm, max_length: int) -> SampleStatistics:
    """What is left of a sample within the limit."""
    labels = [label for label in encoded.labels[:max_length] if label != IGNORED]
    words = _flat(decode(labels, mllm.tokenizer))
    return SampleStatistics(
        tokens=min(len(encoded.input_ids), max_length),
        supervised=len(labels),
        opens=_flat(START) in words,
        closes=_flat(END) in words,
        beyond=beyond(encoded, max_length),
    )


def complaints(conversation: Conversation, encoded: Encoded, mllm: Mllm, max_length: int) -> Iterator[Complaint]:
    """Lengths, labels and characters."""
    length, learnt = len(encoded.input_ids), [label for label in encoded.labels if label != IGNORED]
    within = [label for label in encoded.labels[:max_length] if label != IGNORED]
    if mllm.image_token_id in encoded.input_ids[max_length:] or (learnt and not within):
        yield "too-long", f"{length} tokens, the limit is {max_length}"
    elif not learnt:
        yield "no-answer", quoted(conversation.messages[-1].text if conversation.messages else "")
    elif len(within) < len(learnt):
        yield "cut", f"{length} tokens, the limit is {max_length}: {beyond(encoded, max_length)}"
    yield from _characters(conversation, encoded, learnt, mllm)


def _characters(conversation: Conversation, encoded: Encoded, learnt: list[int], mllm: Mllm) -> Iterator[Complaint]:
    """A reply of which a token is unknown cannot be read back."""
    unknown = mllm.tokenizer.unk_token_id
    replies = [message.text for message in conversation.messages if message.role == "assistant"]
    if unknown is not None and unknown in encoded.input_ids:
        yield "unknown-token", f"{encoded.input_ids.count(unknown)} in {quoted(conversation.messages[0].text)}"
    elif learnt and not _in_order([_flat(reply) for reply in replies], _flat(text := decode(learnt, mllm.tokenizer))):
        yield "wrong-labels", f"{quoted(text)} instead of {quoted(replies[0])}"


def _in_order(parts: list[str], text: str) -> bool:
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _flat(text: str) -> str:
    """Without white space, which tokenizers add and drop."""
    return "".join(text.split())


def role_marks(mllm: Mllm) -> tuple[str, ...]:
    """What the template and the tokenizer take for the end or the beginning of a turn."""
    template = mllm.template
    own = (template.user_head, template.user_tail, template.assistant_head, template.reply_tail)
    marks = {mark.strip() for mark in (*own, *mllm.tokenizer.all_special_tokens)} - {START, END, IMAGE_MARKER}
    return tuple(sorted(mark for mark in marks if len(mark) >= SHORTEST_MARK))


def mark_complaints(conversation: Conversation, marks: tuple[str, ...]) -> Iterator[Complaint]:
    """Words that would be read as a turn's end."""
    for message in conversation.messages:
        if found := next((mark for mark in marks if mark in message.text), None):
            yield "role-marker", f"{found!r} in {quoted(message.text)}"
