"""Replies of a model that another program serves."""

import asyncio
import base64
import io
import re
from collections.abc import Callable, Generator
from typing import Any

from PIL import Image

from llmga.background import awaited, reports_of
from llmga.images import to_rgb
from llmga.llava.conversation import Conversation, Message
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.endpoint.completions import complete
from llmga.llava.endpoint.refusals import Refusal
from llmga.llava.planner import Cancelled, EndedBy, Planner
from llmga.llava.reasoning import without_reasoning
from llmga.llava.sampling import Sampling
from llmga.llava.windows import windows

LETTERS_PER_TOKEN = 16  # more than any text has on average: what exceeds it was not written within the limit
LARGEST_LOSSLESS = 1_000_000  # bytes of a PNG; a larger picture travels as JPEG
_JPEG_QUALITY = 95


class EndpointChat(Planner):
    """Replies over the OpenAI chat protocol.

    What a server turns out not to take (an option, the system role) is left out from then on; when it finds the
    conversation too long, turns are left out of the request as `windows` does.
    The system text is the endpoint's (`Endpoint.system`) where a conversation has none; an empty one is none.
    """

    ended_by: EndedBy

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.teaching: str = endpoint.system
        self._spelling: dict[str, str | None] = {}  # of options, where the server wants another one (None: not at all)
        self._takes_system = True
        self._question: Message | None = None  # the last one that was asked
        self._turns: int | None = None  # how many still fitted into its request
        self._pictures: dict[int, tuple[Image.Image, str]] = {}  # the picture itself keeps its id from being reused

    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Generator[str]:
        async def talk(report: Callable[[str], None]) -> None:
            cut = await self._talk(conversation, sampling, Limit(sampling.max_new_tokens, report))
            self.ended_by = "limit" if cut else "marker"

        self.ended_by = "caller"

        return without_reasoning(reports_of(*awaited(talk), cancelled))

    async def _talk(self, asked: Conversation, sampling: Sampling, take: "Limit") -> bool:
        """Ask, and ask more mildly as long as the server names what it cannot take; whether the answer was cut."""
        remembered = any(message is self._question for message in asked.messages)
        shorter = windows(asked, self._turns + 1 if remembered and self._turns else None)
        window, limited = next(shorter), True
        self._question = asked.messages[-1]
        while True:
            self._turns = len(window.messages) // 2 + 1
            try:
                return await complete(self.endpoint, self._request(window, sampling, limited), take)
            except Refusal as refusal:
                following = next(shorter, None) if refusal.is_too_long else None
                if following is not None:
                    window = following
                elif refusal.is_too_long and limited:
                    limited = False  # the server ends the answer where its context ends
                elif refusal.is_too_long or not self._adapts_to(refusal):
                    raise await asyncio.to_thread(refusal.to_user_error, self.endpoint, bool(window.images())) from None

    def _adapts_to(self, refusal: Refusal) -> bool:
        """Whether there is something to be left out from now on."""
        for option in ("seed", "top_p", "temperature", "max_tokens"):
            spelling = self._spelling.get(option, option)
            if spelling is not None and refusal.names(spelling):
                other = "max_completion_tokens" if spelling == "max_tokens" else None
                self._spelling[option] = other if other and refusal.names(other) else None
                return True
        if self._takes_system and refusal.is_about_system:
            self._takes_system = False
            return True
        return False

    def _request(self, window: Conversation, sampling: Sampling, limited: bool) -> dict[str, Any]:
        options: dict[str, float] = {"temperature": sampling.temperature}
        options |= {"max_tokens": sampling.max_new_tokens} if limited else {}
        options |= {"top_p": sampling.top_p} if sampling.top_p < 1 else {}
        options |= {"seed": sampling.seed} if sampling.seed is not None else {}
        spellings = {option: self._spelling.get(option, option) for option in options}
        spelt = {spelling: options[option] for option, spelling in spellings.items() if spelling is not None}
        return {"model": self.endpoint.model, "messages": self._messages(window), "stream": True} | spelt

    def _messages(self, window: Conversation) -> list[dict[str, Any]]:
        """The conversation in the protocol's form."""
        self._pictures = {
            id(image): self._pictures.get(id(image)) or (image, data_uri(image)) for image in window.images()
        }
        system = self.endpoint.system if window.system is None else window.system
        messages = [{"role": message.role, "content": self._content(message)} for message in window.messages]
        if not system:
            return messages
        if self._takes_system:
            return [{"role": "system", "content": system}, *messages]
        first, *others = messages
        return [first | {"content": _before(system, first["content"])}, *others]

    def _content(self, message: Message) -> str | list[dict[str, Any]]:
        """Plain text where there is no picture: a server that cannot see knows nothing else."""
        if not message.images:
            return message.text
        return [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": self._pictures[id(part)][1]}}
            for part in message.parts()
        ]


class Limit:
    """Passes pieces of an answer on until it is as long as it may be, whatever the server thinks.

    Tokens cannot be counted here, but every word has at least one, and LETTERS_PER_TOKEN letters have, too: an answer
    within its limit is never cut.
    """

    def __init__(self, longest: int, report: Callable[[str], None]):
        self._words, self._letters, self._report = longest, longest * LETTERS_PER_TOKEN, report
        self._within_word = False

    def __call__(self, piece: str) -> bool:
        """Pass on what may pass; False when nothing more may."""
        starts = [word.start() for word in re.finditer(r"\S+", piece)]
        starts = starts[1:] if self._within_word and starts[:1] == [0] else starts
        end = min(self._letters, starts[self._words] if len(starts) > self._words else len(piece))
        if end:
            self._report(piece[:end])
        self._words, self._letters = self._words - len(starts), self._letters - len(piece)
        self._within_word = not piece[-1:].isspace() if piece else self._within_word
        return end == len(piece)


def _before(system: str, content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return f"{system}\n\n{content}"
    return [{"type": "text", "text": system}, *content]


def data_uri(image: Image.Image) -> str:
    """The picture inside a URL: as PNG, or as JPEG when that would be large."""
    for kind, options in (("png", {}), ("jpeg", {"quality": _JPEG_QUALITY})):
        buffer = io.BytesIO()
        to_rgb(image).save(buffer, kind, **options)
        if buffer.tell() <= LARGEST_LOSSLESS:
            break
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
