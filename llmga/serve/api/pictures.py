"""/v1/images: pictures asked for directly.

The assistant rewrites the words into the detailed prompt that its pipeline knows; under the pipeline's own name
they are painted as they stand.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from fastapi import Request, Response, UploadFile

from llmga.assistant.assistant import SIMILAR
from llmga.assistant.events import Denoising, Failed, PictureReady, Stopped
from llmga.assistant.safety import WITHHELD
from llmga.assistant.session import Turn
from llmga.diffusers.families import EDITING, INPAINTING, TEXT_TO_IMAGE
from llmga.serve.api.encoding import data_uri, encoded, preview
from llmga.serve.api.engine import Job
from llmga.serve.api.errors import ApiError
from llmga.serve.api.fairness import closing
from llmga.serve.api.image_shapes import (
    EditForm,
    GenerationRequest,
    ImageEvent,
    ImageOut,
    ImagesResponse,
    ImageUsage,
    Output,
    VariationForm,
)
from llmga.serve.api.scheduler import Comment, EventStream
from llmga.serve.api.service import Service, too_many
from llmga.serve.api.uploads import decode
from llmga.serve.api.verbatim import Verbatim


async def generate(service: Service, body: GenerationRequest, request: Request) -> ImagesResponse | Response:
    """Paint words.  Raises: ApiError, ClientLeft."""
    return await _answer(service, body, request, "image_generation", lambda: Turn(body.prompt))


async def edit(service: Service, form: EditForm, request: Request) -> ImagesResponse | Response:
    """Change a picture: where the mask says, or by the instruction alone.  Raises: ApiError, ClientLeft."""
    files = [*form.image, *form.more]
    if not files:
        raise ApiError(400, "no picture was sent; send it as the form's 'image'.", param="image")
    if form.mask is None and service.names.is_painter(form.model):
        raise ApiError(400, "to change a picture without a mask takes the assistant; leave the model out, or send a "
                       "mask.", param="model")  # fmt: skip
    contents, mask = await _contents(service, files), None if form.mask is None else await form.mask.read()

    def turn() -> Turn:
        first, *others = contents
        images = (decode(first, service.limits, exact=True), *(decode(other, service.limits) for other in others))
        return Turn(form.prompt, images, None if mask is None else decode(mask, service.limits, exact=True))

    return await _answer(service, form, request, "image_edit", turn, EDITING if mask is None else INPAINTING)


async def vary(service: Service, form: VariationForm, request: Request) -> ImagesResponse | Response:
    """Paint pictures like one.  Raises: ApiError, ClientLeft."""
    if service.names.is_painter(form.model):
        raise ApiError(400, "to see a picture takes the assistant; leave the model out.", param="model")
    contents = await _contents(service, [form.image])
    return await _answer(
        service, form, request, "image_variation", lambda: Turn(SIMILAR, (decode(contents[0], service.limits),))
    )


async def _contents(service: Service, files: Sequence[UploadFile]) -> list[bytes]:
    if len(files) > service.limits.pictures:
        raise too_many(service.limits)
    return [await file.read() for file in files]


async def _answer(
    service: Service,
    asked: Output,
    request: Request,
    kind: str,
    turn: Callable[[], Turn],
    task: str = TEXT_TO_IMAGE,
) -> ImagesResponse | Response:
    """Begin the work and answer, whole or as a stream of events whose names begin with `kind`."""
    answer = Answer(service, asked, kind)
    job = await service.desk.begin(request, lambda: answer.job(turn(), task))
    if asked.stream:
        return EventStream(job, answer.events(job))
    return await service.desk.finish(request, job, answer.whole(job))


@dataclass
class Answer:
    """The pictures of one request on their way."""

    service: Service
    asked: Output
    kind: str
    created: int = field(default_factory=lambda: int(time.time()))
    pictures: int = 0
    refusal: str = ""
    stopped: bool = False

    def job(self, turn: Turn, task: str) -> Job:
        """The work for a request.  Raises: UserError where the models cannot do it."""
        service, asked = self.service, self.asked
        chat = Verbatim() if service.names.is_painter(asked.model) else service.engine.models.new_chat()
        settings = service.settings(
            asked,
            previews=bool(asked.stream and asked.partial_images),
            picture="always" if chat.steers else "auto",
            edit={} if task == EDITING else None,
        )
        return service.engine.job(chat, turn, settings, task, insist=True)

    async def finished(self, job: Job) -> AsyncIterator[PictureReady | Denoising]:
        """Pictures and progress; raises ApiError at the end where there was no picture."""
        async for event in job.events():
            match event:
                case PictureReady():
                    yield event
                    self.pictures += 1
                case Denoising():
                    yield event
                case Failed(message, cut=False):
                    self.refusal = self.service.engine.public(message)
                case Stopped():
                    self.stopped = True
        if not self.pictures:
            raise closing() if self.stopped else refused(self.refusal or "no picture came of this; say it anew.")

    async def whole(self, job: Job) -> ImagesResponse:
        """All pictures."""
        data, size = [], None
        async for event in self.finished(job):
            if isinstance(event, PictureReady):
                size = size or named(event.image.size)
                data.append(await asyncio.to_thread(self._out, event))
        return ImagesResponse(created=self.created, data=data, output_format=self._form, size=size)

    @property
    def _form(self) -> str:
        return self.asked.output_format or "png"

    def _encoded(self, event: PictureReady) -> str:
        return encoded(event.image, event.record, self._form, self.asked.output_compression)

    def _out(self, event: PictureReady) -> ImageOut:
        content, record = self._encoded(event), event.record
        told = {"revised_prompt": record.prompt, "seed": record.seed}
        usual = "url" if (self.asked.model or "").startswith("dall-e") else "b64_json"  # as OpenAI's own answer
        if (self.asked.response_format or usual) == "url":
            return ImageOut(url=data_uri(content, self._form), **told)
        return ImageOut(b64_json=content, **told)

    async def events(self, job: Job) -> AsyncIterator[tuple[str, ImageEvent] | Comment]:
        """Previews and pictures, each when it is there."""
        async for event in self.finished(job):
            if isinstance(event, PictureReady):
                yield await asyncio.to_thread(self._completed, event)
            elif event.preview is not None and event.step in (shown := preview_steps(self.asked, event.total)):
                yield self._partial(event, shown.index(event.step))
            else:
                yield Comment(f"painting {event.step}/{event.total}")

    def _completed(self, event: PictureReady) -> tuple[str, ImageEvent]:
        return self._event("completed", self._encoded(event), event.image.size, self._form,
                           revised_prompt=event.record.prompt, seed=event.record.seed, usage=ImageUsage())  # fmt: skip

    def _partial(self, event: Denoising, number: int) -> tuple[str, ImageEvent]:
        image = event.preview
        return self._event("partial_image", preview(image), image.size, "png", partial_image_index=number)

    def _event(
        self, name: str, content: str, size: tuple[int, int], form: str, **more: object
    ) -> tuple[str, ImageEvent]:
        name = f"{self.kind}.{name}"
        return name, ImageEvent(
            type=name,
            b64_json=content,
            created_at=int(time.time()),
            size=named(size),
            output_format=form,
            index=self.pictures,
            **more,
        )


def refused(message: str) -> ApiError:
    """What a client is told who gets no picture."""
    return ApiError(400, message, code="content_policy_violation" if message == WITHHELD else None)


def named(size: tuple[int, int]) -> str:
    """ "1024x768"."""
    return f"{size[0]}x{size[1]}"


def preview_steps(asked: Output, total: int) -> list[int]:
    """The steps after which a preview is sent, evenly apart; fewer where there are not so many steps."""
    count = asked.partial_images or 0
    return sorted({max(1, round(total * (number + 1) / (count + 1))) for number in range(count)})
