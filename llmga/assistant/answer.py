"""One answer while it is given: its words are kept as they come, and the pictures that they ask for are painted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Any

from PIL import Image

from llmga.assistant.events import AssistantEvent, Failed, PictureReady, PromptFound, TextDelta
from llmga.assistant.painting import (
    ImageRequest,
    Postprocessing,
    is_instructed,
    marks_behind,
    painted,
    pipeline_for,
    record_of,
    restorer_of,
    upscaler_of,
)
from llmga.assistant.session import GeneratedImage, Region
from llmga.diffusers.families import EDITING
from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.generation_prompt import Event as ParserEvent
from llmga.llava.generation_prompt import GenerationPrompt, GenerationPromptParser, Spoken
from llmga.llava.planner import answered
from llmga.llava.sampling import Sampling

if TYPE_CHECKING:
    from llmga.assistant.assistant import Assistant


@dataclass
class Answer:
    """One answer while it is given.

    Attributes:
        assistant: whose session and models it uses.
        keep: changes parts of the session; the picture at work stays.
        cancelled: set where nobody wants it any more.
        sampling: how its words are chosen, as the records say it.
        images: what it has painted.
        spent: what that cost, see `Bounds.work`.
        latest: the picture that a control without one of its own follows.
    """

    assistant: Assistant
    keep: Callable[..., None]
    cancelled: Event = field(default_factory=Event)
    sampling: dict[str, Any] = field(default_factory=dict)
    images: list[GeneratedImage] = field(default_factory=list)
    spent: float = 0.0
    latest: Image.Image | None = None

    def follow(
        self,
        asked: Conversation,
        said: str,
        pieces: Generator[str],
        request: str,
        region: Region | None,
    ) -> Iterator[AssistantEvent]:
        """Keep a reply as it is said, and paint the pictures that it asks for.

        Args:
            asked: what it replies to.
            said: what was said of it before.
            pieces: how it goes on.
            request: what the person asked for, as the records say it.
            region: what is painted into.
        """
        parser = GenerationPromptParser()
        list(parser.feed(said))
        with closing(pieces):
            for piece in pieces:
                said += piece
                self.keep(conversation=answered(asked, said))
                for event in parser.feed(piece):
                    yield from self._shown(event, parser.found - 1, request, region)
        self.keep(conversation=answered(asked, said, whole=True))
        for event in parser.close():
            yield from self._shown(event, parser.found - 1, request, region)

    def _shown(self, event: ParserEvent, number: int, request: str, region: Region | None) -> Iterator[AssistantEvent]:
        """What comes of a part of the reply; nothing of a cancelled one, which ends at its next token."""
        if self.cancelled.is_set():
            return
        if isinstance(event, Spoken):
            yield TextDelta(event.text)
        elif isinstance(event, GenerationPrompt):
            for _ in range(self.assistant.settings.versions):
                yield from self.picture(self.wanted(event.text, request, region), request, region, number)

    def wanted(self, prompt: str, request: str, region: Region | None) -> str:
        """What is painted where the language model asks for a picture: what the person said, for a pipeline that
        changes pictures as it is told."""
        told = region is not None and region.pipeline_task == EDITING and is_instructed(self.assistant.pipeline)
        return request.strip() or prompt if told else prompt

    def picture(
        self,
        prompt: str,
        request: str,
        region: Region | None,
        number: int,
        seed: int | None = None,
    ) -> Iterator[AssistantEvent]:
        """Paint one prompt; a `UserError` ends this picture only: words and further pictures of the reply go on.

        Args:
            number: which prompt of its reply it is, from 0.
            seed: None is the session's next one.
        """
        if self.cancelled.is_set():
            return
        report = getattr(self.assistant.pipeline, "report", None)
        yield PromptFound(prompt, str(report(prompt)) if report else "")
        chosen = self.assistant.settings
        if not chosen.paint:
            return
        seed = self.assistant.session.next_seed if seed is None else seed
        try:
            wanted = ImageRequest.of(prompt, seed, region, chosen, self.latest)
            pipeline = pipeline_for(self.assistant.pipeline, region, chosen)
            postprocessing = Postprocessing(
                restorer_of(chosen.restorer, self.assistant.restorer),
                upscaler_of(chosen.upscale, self.assistant.upscaler),
            )
            self.spent = self.assistant.bounds.check_order(wanted, chosen.upscale or 1, pipeline, self.spent)
            previews = chosen.previews and self.assistant.guard.unsafe is None
            image = yield from painted(pipeline, wanted, postprocessing, self.cancelled, previews=previews)
            if image is None:
                return
            image, hidden = self.assistant.guard(image, None if region is None else region.mask)
        except UserError as problem:
            yield Failed(str(problem))
            return
        own, upscaler = self.assistant.pipeline, self.assistant.upscaler
        marks = marks_behind(self.assistant.models, pipeline, own, region, upscaler, chosen)
        record = record_of(
            pipeline, wanted, postprocessing, image, request=request, words=dict(self.sampling), models=marks
        )
        record = replace(record, watermark=hidden)
        self.keep(painted=self.assistant.session.painted + 1)
        self.images.append(GeneratedImage(image, record, region, number))
        yield PictureReady(image, record, None if region is None else region.parent)

    def sampled(self) -> Sampling:
        """How the answer is sampled, noted for its records."""
        sampling = self.assistant.sampling()
        self.sampling = asdict(sampling)
        return sampling
