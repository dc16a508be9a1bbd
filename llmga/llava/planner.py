"""Who answers a conversation, and what every conversation shares, whoever answers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.generation_prompt import GenerationPrompt, canonical, parse
from llmga.llava.sampling import Sampling

USUAL = Sampling()
Cancelled = Callable[[], bool]  # whether whoever asked has had enough
EndedBy = Literal["marker", "limit", "caller"]


def never() -> bool:
    """The `Cancelled` of whoever hears every reply to its end."""
    return False


class Planner(ABC):
    """Whatever answers a conversation and plans its pictures: our own models, anybody's, or a server.

    It is asked for a reply to a conversation, and keeps nothing of it but what makes the next reply quicker.

    Attributes:
        steers: whether it can be made to ask for a picture (`Sampling.picture`).
        repairs: whether a reply of it can be gone on with until it asks for a picture.
        teaching: the system text by which a model learns of the tags that was not trained to write them; another
            system text has to come after it.
        ended_by: what ended the last reply: "marker" (the model itself), "limit" (it was cut) or "caller".
    """

    steers = False
    repairs = False
    teaching: str = ""
    ended_by: EndedBy = "marker"

    @property
    def context_length(self) -> int | None:
        """Tokens that it reads at once; None where it does not say."""
        return None

    def count(self, conversation: Conversation) -> tuple[int, int] | None:
        """Tokens that the last answer of a conversation took to read and to write; None where they are not counted."""
        return None

    @abstractmethod
    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Generator[str]:
        """The reply to the last message, in pieces, without end markers; it ends early once `cancelled()`."""

    def check(self, sampling: Sampling) -> None:
        """See whether any reply can be as `sampling` wants it, whatever is asked.

        Raises:
            UserError: where none can.
        """
        if sampling.picture == "always" and not self.steers:
            raise UserError(
                "picture 'always' needs one of our own models, or any other that runs here; use auto with a server."
            )

    def reply(
        self, conversation: Conversation, sampling: Sampling = USUAL, cancelled: Cancelled = never
    ) -> Generator[str]:
        """The reply to the last message of a conversation, in pieces of text, without end markers.

        Args:
            conversation: ends with a message of the user; earlier replies are spelt as `canonical` does.
            cancelled: asked before every token; once true, the reply ends.

        Raises:
            UserError: when the last message alone is too long, or the model cannot be reached.
        """
        self.check(sampling)
        return self._answer(conversation, sampling, cancelled)

    def repair(
        self, conversation: Conversation, sampling: Sampling = USUAL, cancelled: Cancelled = never
    ) -> Generator[str]:
        """What is to follow the last reply of a conversation so that it asks for a picture; see `repairs`."""
        raise NotImplementedError


@dataclass
class Dialogue:
    """A conversation that goes on with a planner.

    Attributes:
        conversation: everything said so far, replies with their <gen_image> tags spelt as in training and without end
            markers.  It may be replaced (to take a turn back): the next reply follows it.
    """

    planner: Planner
    conversation: Conversation = Conversation()

    def say(
        self,
        text: str,
        images: Sequence[Image.Image] = (),
        sampling: Sampling = USUAL,
        cancelled: Cancelled = never,
    ) -> Generator[str]:
        """Say something and hear the reply, in pieces of text.

        When the caller stops (`cancelled`, closing the iterator, Ctrl-C), what was said until then is in the
        conversation and the turn is closed.  A turn that fails before its first word leaves no trace.

        Args:
            images: pictures that belong to this message.

        Raises:
            UserError: as `Planner.reply` does.
        """
        asked = ask(self.conversation, text, images)
        yield from self._kept(asked, "", self.planner.reply(asked, sampling, cancelled))

    def _kept(self, asked: Conversation, said: str, pieces: Generator[str]) -> Generator[str]:
        """The pieces, which go on from what is said, as they enter the conversation."""
        for piece in pieces:
            said += piece
            self.conversation = answered(asked, said)
            yield piece
        self.conversation = answered(asked, said, whole=True)


def ask(conversation: Conversation, text: str, images: Sequence[Image.Image] = ()) -> Conversation:
    """The conversation and a message of the user more, for a planner to reply to.

    Every reply's prompts are closed and their tags spelt as in training.
    """
    settled = (
        replace(message, text=canonical(message.text, closed=True)) if message.role == "assistant" else message
        for message in conversation.messages
    )
    return replace(conversation, messages=tuple(settled)).say("user", _words(text, len(images)), tuple(images))


def answered(asked: Conversation, said: str, *, whole: bool = False) -> Conversation:
    """The conversation with a reply, as far as it goes; the tags of a `whole` one are spelt as in training."""
    text = _words(said, 0)
    return asked.say("assistant", canonical(text) if whole else text)


def asked_before(conversation: Conversation) -> tuple[Conversation, str]:
    """What the last reply of a conversation answers, and that reply, spelt as in training.

    Raises:
        UserError: when there is no reply.
    """
    *earlier, last = conversation.messages or (None,)
    if last is None or last.role != "assistant":
        raise UserError("there is no answer to repair; say something first.")
    return replace(conversation, messages=tuple(earlier)), canonical(last.text)


def lacks_picture(answer: str) -> bool:
    """Whether it has no generation prompt, or one that is not closed."""
    prompts = [event for event in parse([answer]) if isinstance(event, GenerationPrompt)]
    return not all(prompt.closed for prompt in prompts) or not prompts


def _words(text: str, pictures: int) -> str:
    """The text, in which "<image>" that stands for no picture is made ordinary words."""
    return text if text.count(IMAGE_MARKER) <= pictures else text.replace(IMAGE_MARKER, "<image >")
