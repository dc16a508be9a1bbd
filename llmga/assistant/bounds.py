"""What one answer may cost where others ask for it: decided here, whichever way they came in.

The flow asks before a message is read and before a picture is painted, so that a request over HTTP, a visitor of the
page, a session that was loaded and a picture painted again all meet the same bounds.  At a terminal there are none.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmga.errors import UserError
from llmga.images import MAX_PIXELS
from llmga.llava.conversation import Conversation

if TYPE_CHECKING:
    from llmga.assistant.painting import ImageRequest
    from llmga.assistant.settings import Settings

LARGER = 4  # times the pipeline's native number of pixels: twice as wide and twice as high
STEPS = 150
UNKNOWN_NATIVE = (1024, 1024)  # of a pipeline that does not say
LONGEST_PROMPT = 8_000  # characters: some thirty chunks of a text encoder, which every block of a step attends to
LONGEST_ANSWER = 8192  # tokens
MESSAGES = 32  # of the longest kind, that all messages of a conversation may be as long as together

Painter = Any  # whatever obeys the contract of a pipeline, and may describe itself


class TooMuch(UserError):
    """More than is done for one answer.

    Attributes:
        setting: which field of `Settings` it is about; None for words.
    """

    def __init__(self, message: str, setting: str | None = None):
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True)
class Bounds:
    """What one answer may cost.

    Attributes:
        pixels: that a picture is painted with; None is `LARGER` times the pipeline's native number.
        steps: of the denoising of one picture.
        work: steps times pixels, of all pictures of an answer together; None is what one picture takes that has the
            most of both.
        prompt: characters that are painted, or said not to be.
        message: characters of a message.
        tokens: of the words of an answer.
        finished: pixels of a picture with what it was painted into, enlarged.
    """

    pixels: float | None = None
    steps: float = STEPS
    work: float | None = None
    prompt: float = LONGEST_PROMPT
    message: float = math.inf
    tokens: float = LONGEST_ANSWER
    finished: float = MAX_PIXELS

    def reading(self, message: float) -> "Bounds":
        """With messages of up to so many characters, where the bounds do not say."""
        return replace(self, message=message) if math.isinf(self.message) else self

    def check_message(self, text: str) -> None:
        """See that a message is short enough.

        Raises:
            TooMuch: it is not.
        """
        if len(text) > self.message:
            raise TooMuch(f"the message has {len(text):,} characters, {self.message:,} are read at most; shorten it.")

    def check_conversation(self, conversation: Conversation) -> None:
        """See that what was said so far, brought along by somebody, is short enough.

        Raises:
            TooMuch: it is not.
        """
        said = [conversation.system or "", *(message.text for message in conversation.messages)]
        if sum(map(len, said)) > self.message * MESSAGES:
            raise TooMuch(
                f"the conversation has over {self.message * MESSAGES:,} characters; go on with a shorter one."
            )

    def check_settings(self, chosen: "Settings", pipeline: Painter) -> None:
        """See that one answer may cost what the settings want, before anything is begun.

        Raises:
            TooMuch: it may not.
        """
        if chosen.max_new_tokens > self.tokens:
            raise TooMuch(f"an answer of {chosen.max_new_tokens:,} tokens is too long; use --max-new-tokens up to "
                          f"{self.tokens:,}.", "max_new_tokens")  # fmt: skip
        self.check_prompt(chosen.negative_prompt or "", "negative_prompt")
        steps, size = self._steps(pipeline, chosen.steps), chosen.size or native_size(pipeline)
        self._check_picture(steps, size, pipeline)
        self._check_work(steps * self._area(size, pipeline) * chosen.versions, pipeline, "versions")

    def check_order(self, order: "ImageRequest", scale: int, pipeline: Painter, spent: float) -> float:
        """See that a picture may cost what is asked for, before it is painted.

        Args:
            scale: how many times it is enlarged afterwards.
            spent: steps times pixels of the answer's pictures before it.

        Returns:
            The same with this picture.

        Raises:
            TooMuch: it may not.
        """
        said = {"prompt": order.prompt, "negative_prompt": order.negative_prompt}
        for setting, text in (said | {"source_prompt": order.changes.get("source_prompt")}).items():
            self.check_prompt(text or "", setting)
        steps, size = self._steps(pipeline, order.steps, **order.changes), order.size or native_size(pipeline)
        self._check_picture(steps, size, pipeline)
        spent += steps * self._area(size, pipeline)
        self._check_work(spent, pipeline, None)
        seen = order.region.picture.size if order.region else size
        if _area(seen) * scale**2 > self.finished:
            raise TooMuch(f"a picture of {_named(seen)} enlarged {scale} times has over {self.finished:,} pixels; give "
                          "a smaller one.", "upscale")  # fmt: skip
        return spent

    def check_prompt(self, text: str, setting: str) -> None:
        """See that so many words can be painted, or be said not to be.

        Raises:
            TooMuch: there are more.
        """
        if len(text) > self.prompt:
            raise TooMuch(f"the {setting.replace('_', ' ')} has {len(text):,} characters, {self.prompt:,} are painted "
                          "at most; shorten it.", setting)  # fmt: skip

    def _check_picture(self, steps: float, size: tuple[int, int], pipeline: Painter) -> None:
        if steps > self.steps:
            raise TooMuch(f"{steps} steps are too many for this server; use at most {self.steps}.", "steps")
        if (area := self._area(size, pipeline)) > (most := self._pixels(pipeline)):
            raise TooMuch(f"a size of {_named(size)} is {area:,} pixels, at most {most:,} are painted here; choose a "
                          "smaller --size.", "size")  # fmt: skip

    def _check_work(self, work: float, pipeline: Painter, setting: str | None) -> None:
        most = self._pixels(pipeline) * self.steps if self.work is None else self.work
        if work > most:
            raise TooMuch(f"steps times pixels of all pictures of the answer are {work:,}, at most {most:,} are done "
                          "for one; ask for fewer or smaller pictures, or for fewer --steps.", setting)  # fmt: skip

    def _pixels(self, pipeline: Painter) -> float:
        return LARGER * _area(native_size(pipeline)) if self.pixels is None else self.pixels

    def _steps(self, pipeline: Painter, steps: int | None, **changes: Any) -> float:
        """The steps; the pipeline's own ones, which are the host's choice, count as no more than are allowed."""
        return steps or min(pipeline.describe(**changes).get("steps") or 1, self.steps)

    def _area(self, size: tuple[int, int], pipeline: Painter) -> float:
        """Pixels of this size; where it is only guessed, no more than are allowed."""
        return min(_area(size), self._pixels(pipeline)) if size is UNKNOWN_NATIVE else _area(size)


class _Unbounded(Bounds):
    """The owner of the machine knows what it can do."""

    def check_message(self, text: str) -> None:
        pass

    def check_conversation(self, conversation: Conversation) -> None:
        pass

    def check_settings(self, chosen: "Settings", pipeline: Painter) -> None:
        pass

    def check_order(self, order: "ImageRequest", scale: int, pipeline: Painter, spent: float) -> float:
        return 0.0


UNBOUNDED = _Unbounded()


def native_size(pipeline: Painter) -> tuple[int, int]:
    """Width and height in pixels that a pipeline was made for, as far as it says."""
    return getattr(pipeline, "native_size", None) or UNKNOWN_NATIVE


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _named(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
