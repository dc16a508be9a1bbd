"""/v1/images: pictures that are asked for directly.

The assistant rewrites the words into the detailed prompt that its pipeline knows; under the pipeline's own name
they are painted as they stand.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response, UploadFile
from PIL import Image

from llmga.assistant.assistant import SIMILAR
from llmga.assistant.events import Denoising, Failed, PictureReady, Stopped
from llmga.assistant.record import Record
from llmga.assistant.safety import WITHHELD
from llmga.assistant.session import Turn
from llmga.diffusers.families import EDITING, INPAINTING, TEXT_TO_IMAGE
from llmga.llava.passthrough import PassthroughPlanner
from llmga.serve.api.engine import RunningTurn
from llmga.serve.api.errors import ApiError
from llmga.serve.api.fair_queue import closing
from llmga.serve.api.image_data import decode_image, preview_to_base64, to_base64, to_data_uri
from llmga.serve.api.image_schemas import (
    ChangedPart,
    EditForm,
    GenerationRequest,
    ImageEvent,
    ImageOut,
    ImagesResponse,
    ImageUsage,
    OutputFormat,
    OutputParams,
    VariationForm,
)
from llmga.serve.api.routing import v1_router
from llmga.serve.api.scheduler import cancel_on_disconnect
from llmga.serve.api.service import Service, too_many_images
from llmga.serve.api.streaming import EventStream, data_event, progress_comment

router: APIRouter = v1_router(streams=True)


@router.post("/images/generations", response_model=ImagesResponse)
async def images_generations(body: GenerationRequest, request: Request) -> ImagesResponse | Response:
    """Paint words."""
    service: Service = request.app.state.service
    urls = body.control_urls
    fetched = await cancel_on_disconnect(request.receive, service.fetch_images(urls, request.state.client))
    return await _answer(
        body,
        request,
        "image_generation",
        lambda: Turn(body.prompt),
        controls=lambda: service.control_images(urls, fetched),
    )


@router.post("/images/edits", response_model=ImagesResponse)
async def images_edits(form: Annotated[EditForm, Form()], request: Request) -> ImagesResponse | Response:
    """Change a picture where a mask says, or by an instruction alone."""
    service: Service = request.app.state.service
    files = [*form.image, *form.more]
    if not files:
        raise ApiError(400, "no picture was sent; send it as the form's 'image'.", param="image")
    if form.mask is None and service.names.is_pipeline(form.model) and not service.engine.is_instructed:
        raise ApiError(400, "to change a picture without a mask takes the assistant; leave the model out, or send a "
                       "mask.", param="model")  # fmt: skip
    contents, mask = await _read(service, files), None if form.mask is None else await form.mask.read()
    guiding = await _read(service, form.control_image)

    def turn() -> Turn:
        limits, (first, *others) = service.limits, contents
        images = (decode_image(first, limits, exact=True), *(decode_image(other, limits) for other in others))
        return Turn(form.prompt, images, None if mask is None else decode_image(mask, limits, exact=True))

    task = EDITING if mask is None else INPAINTING
    return await _answer(form, request, "image_edit", turn, task, lambda: _opened(service, guiding))


@router.post("/images/variations", response_model=ImagesResponse)
async def images_variations(form: Annotated[VariationForm, Form()], request: Request) -> ImagesResponse | Response:
    """Paint pictures like one."""
    service: Service = request.app.state.service
    if service.names.is_pipeline(form.model):
        raise ApiError(400, "to see a picture takes the assistant; leave the model out.", param="model")
    contents, guiding = await _read(service, [form.image]), await _read(service, form.control_image)
    return await _answer(
        form,
        request,
        "image_variation",
        lambda: Turn(form.prompt or SIMILAR, (decode_image(contents[0], service.limits),)),
        controls=lambda: _opened(service, guiding),
    )


def _opened(service: Service, contents: Sequence[bytes]) -> tuple[Image.Image, ...]:
    """Return pictures that guide, as they are."""
    return tuple(decode_image(content, service.limits, exact=True) for content in contents)


async def _read(service: Service, files: Sequence[UploadFile]) -> list[bytes]:
    if len(files) > service.limits.pictures:
        raise too_many_images(service.limits)
    return [await file.read() for file in files]


async def _answer(
    params: OutputParams,
    request: Request,
    kind: str,
    make_turn: Callable[[], Turn],
    task: str = TEXT_TO_IMAGE,
    controls: Callable[[], tuple[Image.Image, ...]] = tuple,
) -> ImagesResponse | Response:
    """Start the turn and answer, whole or as a stream.

    Args:
        kind: With which the names of the stream's events begin.
        make_turn: Opens the pictures; called in a thread.
        task: What the pipeline is needed for.
        controls: Opens the pictures that guide; called in a thread.

    Raises:
        ApiError: The request is refused, or no picture came of it.
        ClientDisconnect: The client left.
    """
    service: Service = request.app.state.service
    responder = ImagesResponder(service, params, kind)
    turn = await service.scheduler.start(request, lambda: responder.turn(make_turn(), task, controls()))
    if params.stream:
        return EventStream(turn, responder.events(turn))
    return await service.scheduler.finish(request, turn, responder.response(turn))


@dataclass
class ImagesResponder:
    """Makes the answer to one request of the events of its turn.

    Attributes:
        kind: With which the names of a stream's events begin.
        images: How many were painted.
        refusal: Why the last one could not be.
    """

    service: Service
    params: OutputParams
    kind: str
    created: int = field(default_factory=lambda: int(time.time()))
    images: int = 0
    refusal: str = ""
    stopped: bool = False

    def turn(self, turn: Turn, task: str, controls: tuple[Image.Image, ...] = ()) -> RunningTurn:
        """Return the turn that is to be run.

        Raises:
            ApiError: More is asked for than one answer may cost.
            UserError: The models cannot do it.
        """
        service, params = self.service, self.params
        as_it_stands = service.names.is_pipeline(params.model) or (task == EDITING and service.engine.is_instructed)
        planner = PassthroughPlanner() if as_it_stands else service.engine.models.new_chat()
        settings = service.settings(
            params,
            previews=bool(params.stream and params.partial_images),
            picture="always" if planner.steers else "auto",
            edit={} if task == EDITING else None,
            control_images=controls,
        )
        return service.engine.turn(planner, turn, settings, task, insist=True)

    async def painted(self, turn: RunningTurn) -> AsyncGenerator[PictureReady | Denoising]:
        """Yield pictures and progress.

        Raises:
            ApiError: At the end, where there was no picture.
        """
        async for event in turn.events():
            match event:
                case PictureReady():
                    yield event
                    self.images += 1
                case Denoising():
                    yield event
                case Failed(message, cut=False):
                    self.refusal = self.service.engine.public(message)
                case Stopped():
                    self.stopped = True
        if not self.images:
            raise closing() if self.stopped else no_image(self.refusal or "no picture came of this; say it anew.")

    async def response(self, turn: RunningTurn) -> ImagesResponse:
        """Return all pictures."""
        data, size = [], None
        async for event in self.painted(turn):
            if isinstance(event, PictureReady):
                size = size or size_text(event.image.size)
                data.append(await asyncio.to_thread(self._image, event))
        return ImagesResponse(created=self.created, data=data, output_format=self._form, size=size)

    @property
    def _form(self) -> OutputFormat:
        return self.params.output_format or "png"

    def _encode(self, event: PictureReady) -> str:
        return to_base64(event, self._form, self.params.output_compression, self.service.signer)

    def _image(self, event: PictureReady) -> ImageOut:
        content, record = self._encode(event), event.record
        usual = "url" if (self.params.model or "").startswith("dall-e") else "b64_json"  # as OpenAI's own answer
        as_url = (self.params.response_format or usual) == "url"
        return ImageOut(
            b64_json=None if as_url else content,
            url=to_data_uri(content, self._form) if as_url else None,
            revised_prompt=record.prompt,
            seed=record.seed,
            changed=changed_part(record),
        )

    async def events(self, turn: RunningTurn) -> AsyncGenerator[bytes]:
        """Yield previews and pictures as server-sent events, each when it is there."""
        async for event in self.painted(turn):
            if isinstance(event, PictureReady):
                yield await asyncio.to_thread(self._completed, event)
            elif event.preview is not None and event.step in (
                shown := preview_steps(self.params.partial_images, event.total)
            ):
                yield self._partial(event.preview, shown.index(event.step))
            else:
                yield progress_comment(event)

    def _preview_steps(self, total: int) -> list[int]:
        return preview_steps(self.params.partial_images, total)

    def _completed(self, event: PictureReady) -> bytes:
        record = event.record
        return self._event("completed", self._encode(event), event.image.size, self._form, seed=record.seed,
                           revised_prompt=record.prompt, changed=changed_part(record), usage=ImageUsage())  # fmt: skip

    def _partial(self, preview: Image.Image, number: int) -> bytes:
        content = preview_to_base64(preview)
        return self._event("partial_image", content, preview.size, "png", partial_image_index=number)

    def _event(self, name: str, content: str, size: tuple[int, int], form: OutputFormat, **more: Any) -> bytes:
        event = ImageEvent(
            type=f"{self.kind}.{name}",
            b64_json=content,
            created_at=int(time.time()),
            size=size_text(size),
            output_format=form,
            index=self.images,
            **more,
        )
        return data_event(event, event.type)


def no_image(message: str) -> ApiError:
    """Return the refusal where no picture came of a request."""
    return ApiError(400, message, code="content_policy_violation" if message == WITHHELD else None)


def changed_part(record: Record) -> ChangedPart | None:
    """Return what of a picture was changed by words; None of one that was painted or has a mask."""
    seen = record.changed
    return None if seen is None else ChangedPart(share=seen.share, box=seen.box)


def size_text(size: tuple[int, int]) -> str:
    """Return a size as "1024x768"."""
    return f"{size[0]}x{size[1]}"


def preview_steps(wanted: int | None, total: int) -> list[int]:
    """Return the steps after which a preview is sent, evenly apart; fewer where there are not so many steps."""
    count = wanted or 0
    return sorted({max(1, round(total * (number + 1) / (count + 1))) for number in range(count)})
