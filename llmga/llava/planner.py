"""What every conversation shares, whoever answers: the history, and how turns enter, change and leave it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from PIL import Image

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.generation_prompt import canonical
from llmga.llava.sampling import Sampling

USUAL = Sampling()
Prompt = TypeVar("Prompt")


class Planner(ABC):
    """One person's conversation with whatever plans the pictures: our own models, anybody's, or a server.

    A subclass answers (`_answer`); the history is kept here, in the same way for all.

    Attributes:
        conversation: everything said so far, answers with their <gen_image> tags spelt as in training and without end
            markers.  It may be replaced (to take a turn back): the next answer follows it.
        steers: it can be made to ask for a picture (`Sampling.picture`).
        teaching: the system text by which a model learns of the tags that was not trained to write them; another
            system text has to come after it.
        ended_by: what ended the last answer: "marker" (the model itself), "limit" (it was cut) or "caller".
    """

    steers = False
    teaching = ""

    def __init__(self, system: str | None = None):
        self.conversation = Conversation(system=system)
        self.ended_by: Literal["marker", "limit", "caller"] = "marker"

    @abstractmethod
    def _answer(self, asked: Conversation, sampling: Sampling, cancelled: Callable[[], bool]) -> Iterator[str]:
        """The reply to the last message, in pieces, without end markers; it ends early once `cancelled()`."""

    def check(self, sampling: Sampling) -> None:
        """Raises: UserError where no answer can be as `sampling` wants it, whatever is asked."""
        if sampling.picture == "always" and not self.steers:
            raise UserError("picture 'always' needs one of our own models, run here; use auto with any other.")

    def say(
        self,
        text: str,
        images: Sequence[Image.Image] = (),
        sampling: Sampling = USUAL,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[str]:
        """Answer, in pieces of text.

        When the caller stops (`cancelled`, closing the iterator, Ctrl-C), what was said until then is in the history
        and the turn is closed.  A turn that fails before its first word leaves no trace.

        Args:
            images: pictures that belong to this message.
            cancelled: asked before every token.

        Raises: UserError when this turn alone is too long, or the model cannot be reached.
        """
        self.check(sampling)
        asked = _settled(self.conversation).say("user", _words(text, len(images)), tuple(images))
        yield from self._kept(asked, "", self._answer(asked, sampling, cancelled or never))

    def _kept(self, asked: Conversation, said: str, pieces: Iterator[str]) -> Iterator[str]:
        """The pieces, which go on from what is said, as they enter the history."""
        for piece in pieces:
            said += piece
            self.conversation = asked.say("assistant", _words(said, 0))
            yield piece
        self.conversation = asked.say("assistant", canonical(_words(said, 0)))

    def edit(
        self,
        turn: int,
        text: str | None = None,
        images: Sequence[Image.Image] | None = None,
        sampling: Sampling = USUAL,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[str]:
        """Answer anew a message of the user, worded otherwise or not; what was said after it is forgotten.

        An edit that fails before its first word leaves the conversation as it was.

        Args:
            turn: which of the user's messages: 0 is the first, -1 the last.
            text, images: None keeps what the message had.

        Raises: UserError when there is no such message, or it is too long.
        """
        before = self.conversation
        asked = [index for index, message in enumerate(before.messages) if message.role == "user"]
        if not -len(asked) <= turn < len(asked):
            raise UserError(
                f"turn {turn} does not exist, the conversation has {len(asked)}; use 0 to {len(asked) - 1}."
            )
        old = before.messages[asked[turn]]
        pictures = old.images if images is None else images
        self.conversation = earlier = replace(before, messages=before.messages[: asked[turn]])
        try:
            yield from self.say(old.text if text is None else text, pictures, sampling, cancelled)
        finally:
            if self.conversation is earlier:
                self.conversation = before

    def regenerate(self, sampling: Sampling = USUAL, cancelled: Callable[[], bool] | None = None) -> Iterator[str]:
        """Answer the last message again.  Raises: UserError when there is none."""
        yield from self.edit(-1, sampling=sampling, cancelled=cancelled)


def never() -> bool:
    return False


def _settled(conversation: Conversation) -> Conversation:
    """With every answer's prompts closed and their tags spelt as in training, for the model to read."""
    told = (
        replace(message, text=canonical(message.text, closed=True)) if message.role == "assistant" else message
        for message in conversation.messages
    )
    return replace(conversation, messages=tuple(told))


def _words(text: str, pictures: int) -> str:
    """The text, in which "<image>" that stands for no picture is made ordinary words."""
    return text if text.count(IMAGE_MARKER) <= pictures else text.replace(IMAGE_MARKER, "<image >")


def windows(asked: Conversation) -> Iterator[Conversation]:
    """The conversation, then ever shorter ones: each without the oldest question and answer of the one before."""
    yield asked
    while len(asked.messages) >= 3:
        asked = replace(asked, messages=asked.messages[2:])
        yield asked


def fitting(
    asked: Conversation,
    encode: Callable[[Conversation], Prompt],
    context: int,
    longest_answer: int,
    length: Callable[[Prompt], int] = len,
) -> tuple[Conversation, Prompt]:
    """The latest turns that leave room for an answer, and what `encode` makes of them.

    Args:
        encode: makes the prompt of a conversation.
        context: the longest sequence in tokens that the model reads and writes, pictures included.
        length: tokens of a prompt.

    Raises: UserError when the last turn alone is too long.
    """
    room = min(longest_answer, context // 2)
    for window in windows(asked):
        prompt = encode(window)
        if length(prompt) + room <= context:
            return window, prompt
    if length(prompt) >= context:
        raise UserError(
            f"this message takes {length(prompt)} tokens, the model reads at most {context} with its answer; "
            "shorten it or attach fewer pictures."
        )
    return window, prompt
