"""/v1/responses: OpenAI's later form of a conversation, in which pictures come of the tool `image_generation`."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.sse import format_sse_event
from pydantic import BaseModel

from llmga.assistant.events import Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.safety import WITHHELD
from llmga.serve.api.chat import ChatResponder
from llmga.serve.api.chat_schemas import (
    MAX_MESSAGES,
    ChatRequest,
    ImagePart,
    MessageIn,
    PaintedImage,
    Part,
    ShownUrl,
    TextPart,
)
from llmga.serve.api.engine import RunningTurn
from llmga.serve.api.errors import ApiError, shown
from llmga.serve.api.image_data import preview_to_base64, to_base64
from llmga.serve.api.images import preview_steps, size_text
from llmga.serve.api.messages import image_urls, tagged
from llmga.serve.api.response_store import ResponseStore
from llmga.serve.api.responses_schemas import (
    ContentPart,
    DeletedResponse,
    GivenItem,
    GivenItems,
    ImageItem,
    Incomplete,
    InputItem,
    MessageItem,
    OutputRefusal,
    OutputText,
    ResponseObject,
    ResponsesRequest,
    ResponseUsage,
)
from llmga.serve.api.routing import STREAM, v1_router
from llmga.serve.api.scheduler import cancel_on_disconnect
from llmga.serve.api.service import Service
from llmga.serve.api.streaming import EventStream, progress_comment

router: APIRouter = v1_router(streams=True)
# Where the document says that an answer's id goes.
LINKS = {
    operation: {"operationId": operation, "parameters": {"name": "$response.body#/id"}}
    for operation in ("read_response", "list_input_items", "delete_response")
}


@router.post("/responses", response_model=ResponseObject, responses={200: {"content": STREAM, "links": LINKS}})
async def create_response(body: ResponsesRequest, request: Request) -> ResponseObject | Response:
    """Talk, and see it painted where the tool `image_generation` is given."""
    service: Service = request.app.state.service
    store, client = _store(request), request.state.client
    if service.names.is_pipeline(body.model):
        raise ApiError(400, "this model paints and does not talk; ask it under /v1/images, or leave the model out.",
                       param="model")  # fmt: skip
    if not service.ignore_tools and (
        other := next((t for t in body.tools or () if t.type != "image_generation"), None)
    ):
        raise ApiError(400, f"the tool {shown(other.type)} is not served here; leave it out, or start the server with "
                       "--ignore-tools.", param="tools")  # fmt: skip
    messages = [*_before(body, store, client), *_messages(body, store, client)]
    responder = ResponsesResponder(service, body, body.model or service.names.assistant[0])
    mask = None if body.image_tool is None else body.image_tool.mask_url
    urls = [*image_urls(messages), *([] if mask is None else [mask])]
    fetched = await cancel_on_disconnect(request.receive, service.fetch_images(urls, client))
    asked = _chat_request(body, messages)
    turn = await service.scheduler.start(request, lambda: responder.chat.turn(asked, client, fetched, mask))

    def keep(response: ResponseObject) -> None:
        if body.store is not False:
            store.put(client, response, [*messages, *_as_messages(response)], given_items(body.input))

    if body.stream:
        return EventStream(turn, responder.stream(turn, keep))
    return await service.scheduler.finish(request, turn, responder.whole(turn, keep))


@router.get("/responses/{name}", operation_id="read_response")
async def read_response(name: str, request: Request) -> ResponseObject:
    """An answer that was stored."""
    found = _store(request).get(request.state.client, name)
    if found is None:
        raise _unknown(name)
    return found.response


@router.get("/responses/{name}/input_items", operation_id="list_input_items")
async def list_input_items(
    name: str,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[
        str | None, Query(max_length=200, description="the id of the last item of the page before")
    ] = None,
) -> GivenItems:
    """What a stored answer answered, the latest item first, without what went before by previous_response_id."""
    found = _store(request).get(request.state.client, name)
    if found is None:
        raise _unknown(name)
    items = list(found.given if order == "asc" else reversed(found.given))
    places = {item.id: place for place, item in enumerate(items)}  # of an id that was sent twice the last
    if after is not None and after not in places:
        raise ApiError(400, f"there is no item {shown(after)} among those of this response; send an id of them.",
                       param="after")  # fmt: skip
    begin = 0 if after is None else places[after] + 1
    page = items[begin : begin + limit]
    ends = (page[0].id, page[-1].id) if page else (None, None)
    return GivenItems(data=page, first_id=ends[0], last_id=ends[1], has_more=begin + limit < len(items))


@router.delete("/responses/{name}", operation_id="delete_response")
async def delete_response(name: str, request: Request) -> DeletedResponse:
    """Forget an answer."""
    if not _store(request).delete(request.state.client, name):
        raise _unknown(name)
    return DeletedResponse(id=name)


def given_items(asked: str | Sequence[InputItem]) -> list[GivenItem]:
    """What was said as items with ids, words as their parts."""
    items = [InputItem(role="user", content=asked)] if isinstance(asked, str) else asked
    kinds = {"message": "msg", "image_generation_call": "ig", "reasoning": "rs"}
    return [
        GivenItem(
            type=item.type,
            id=item.id or _name(kinds[item.type]),
            role=item.role,
            content=_parts(item),
            result=item.result,
            revised_prompt=item.revised_prompt,
        )
        for item in items
    ]


def _parts(item: InputItem) -> list[ContentPart] | None:
    if item.type != "message" or isinstance(item.content, list):
        return item.content if isinstance(item.content, list) else None
    kind: Any = "output_text" if item.role == "assistant" else "input_text"
    return [ContentPart(type=kind, text=item.content or "", image_url=None)]


def _store(request: Request) -> ResponseStore:
    return cast(ResponseStore, request.app.state.responses)


def _unknown(name: str) -> ApiError:
    return ApiError(404, f"there is no response {shown(name)}; the latest are kept only, send the input again.",
                    param="previous_response_id", code="previous_response_not_found")  # fmt: skip


def _before(body: ResponsesRequest, store: ResponseStore, client: str) -> Sequence[MessageIn]:
    """The conversation that is gone on with."""
    if body.previous_response_id is None:
        return ()
    found = store.get(client, body.previous_response_id)
    if found is None:
        raise _unknown(body.previous_response_id)
    return [message for message in found.messages if message.role not in ("system", "developer")]


def _messages(body: ResponsesRequest, store: ResponseStore, client: str) -> list[MessageIn]:
    system = [MessageIn(role="system", content=body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return [*system, MessageIn(role="user", content=body.input)]
    known = (_message(item, store, client) for item in body.input)
    return [*system, *(message for message in known if message is not None)]


def _message(item: InputItem, store: ResponseStore, client: str) -> MessageIn | None:
    """An item as a message of a chat; None for one that says nothing here."""
    if item.type == "reasoning":
        return None
    if item.type == "image_generation_call":
        painted = None if item.revised_prompt else store.painted(client, item.id or "")
        prompt = item.revised_prompt or (painted and painted.revised_prompt)
        if not prompt:
            raise ApiError(404, f"the picture {shown(item.id)} is not known here any more; send its revised_prompt, or "
                           "the picture as an input_image.", param="input")  # fmt: skip
        return MessageIn(role="assistant", content="", images=[PaintedImage(revised_prompt=prompt)])
    assert item.role is not None  # which the schema sees to
    if item.content is None or isinstance(item.content, str):
        return MessageIn(role=item.role, content=item.content)
    parts: list[Part] = []
    for part in item.content:
        if part.type == "input_image":
            parts.append(ImagePart(type="image_url", image_url=ShownUrl(url=str(part.image_url))))
        else:
            parts.append(TextPart(type="text", text=part.text or part.refusal))
    return MessageIn(role=item.role, content=parts)


def _as_messages(response: ResponseObject) -> list[MessageIn]:
    """An answer as the messages that a later request goes on from."""
    found = []
    for item in response.output:
        if isinstance(item, ImageItem):
            if item.revised_prompt and item.status == "completed":
                painted = PaintedImage(revised_prompt=item.revised_prompt)
                found.append(MessageIn(role="assistant", content="", images=[painted]))
        elif words := "".join(part.text for part in item.content if isinstance(part, OutputText)):
            found.append(MessageIn(role="assistant", content=words))
    return found


def _chat_request(body: ResponsesRequest, messages: Sequence[MessageIn]) -> ChatRequest:
    """The same as a request of a chat.

    Raises:
        ApiError: 400 where the conversation has become too long.
    """
    if len(messages) > MAX_MESSAGES:
        raise ApiError(400, f"the conversation has {len(messages)} messages with those before; at most {MAX_MESSAGES} "
                       "are read, begin another one.", param="input")  # fmt: skip
    tool = body.image_tool
    given = {name: getattr(body, name) for name in ("seed", "negative_prompt", "num_inference_steps", "guidance_scale",
                                                    "temperature", "top_p")}  # fmt: skip
    return ChatRequest(
        messages=list(messages) or [MessageIn(role="user")],  # of nothing but thoughts it is asked to go on
        max_completion_tokens=body.max_output_tokens,
        size=(tool and tool.size) or body.size,
        paint=tool is not None,
        picture="always" if body.must_paint else None,
        **given,
    )


Event = tuple[str, dict[str, Any]]  # its type, and what it says beside


@dataclass
class ResponsesResponder:
    """Makes the answer to one request of the events of its turn.

    Attributes:
        chat: Makes the turn, and counts its tokens.
        response: The answer as far as it is.
    """

    service: Service
    body: ResponsesRequest
    model: str
    chat: ChatResponder = field(init=False)
    response: ResponseObject = field(init=False)
    _previews: int = 0  # of the picture at work

    def __post_init__(self) -> None:
        body, tool = self.body, self.body.image_tool
        previews = bool(body.stream and tool is not None and tool.partial_images)
        self.chat = ChatResponder(self.service, self.model, previews=previews)
        self.response = ResponseObject(
            id=_name("resp"),
            created_at=int(time.time()),
            model=self.model,
            store=body.store is not False,
            tools=[each.model_dump(exclude_none=True) for each in body.tools or ()],
            metadata=body.metadata or {},
            tool_choice=body.tool_choice,
            **{name: getattr(body, name) for name in ("instructions", "max_output_tokens", "previous_response_id",
                                                      "temperature", "top_p")},
        )  # fmt: skip

    async def whole(self, turn: RunningTurn, keep: Any) -> ResponseObject:
        """Return the answer once it is whole.

        Args:
            keep: Called with it.
        """
        async for _ in self._events(turn):
            pass
        keep(self.response)
        return self.response

    async def stream(self, turn: RunningTurn, keep: Any) -> AsyncGenerator[bytes]:
        """Yield the answer as server-sent events, numbered from 0."""
        number = 0
        async for event in self._events(turn):
            if isinstance(event, Denoising):
                yield progress_comment(event)
                continue
            kind, content = event
            if kind in ("response.completed", "response.incomplete"):
                keep(self.response)
            told = {"type": kind, "sequence_number": number, **{k: _plain(v) for k, v in content.items()}}
            yield format_sse_event(data_str=json.dumps(told), event=kind)
            number += 1

    async def _events(self, turn: RunningTurn) -> AsyncGenerator[Event | Denoising]:
        response = self.response
        for kind in ("response.created", "response.in_progress"):
            yield kind, {"response": response}
        async for event in turn.events():
            match event:
                case TextDelta(text):
                    for told in self._say(text):
                        yield told
                case PromptFound(prompt) if self.body.image_tool is None:
                    for told in self._say(tagged(prompt)):
                        yield told
                case PromptFound(prompt):
                    for told in [*self._end_message(), *self._begin_picture(prompt)]:
                        yield told
                case Denoising():
                    for told in self._partial(event):
                        yield told
                    yield event
                case PictureReady():
                    for told in await asyncio.to_thread(self._picture, event):
                        yield told
                case Failed(cut=True) | Stopped():
                    response.incomplete_details = Incomplete(reason="max_output_tokens")
                case Failed(message):
                    for told in self._failed(message):
                        yield told
        for told in self._end_message("completed" if response.incomplete_details is None else "incomplete"):
            yield told
        usage = self.chat.usage
        response.status = "completed" if response.incomplete_details is None else "incomplete"
        response.usage = ResponseUsage() if usage is None else ResponseUsage(
            input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, total_tokens=usage.total_tokens
        )  # fmt: skip
        yield f"response.{response.status}", {"response": response}

    # Words.

    def _say(self, text: str) -> list[Event]:
        begun = self._begin_message(OutputText())
        item = cast(MessageItem, self.response.output[-1])
        part = cast(OutputText, item.content[-1])
        part.text += text
        return [*begun, ("response.output_text.delta", self._place(content_index=0, delta=text, logprobs=[]))]

    def _begin_message(self, part: OutputText | OutputRefusal) -> list[Event]:
        last = self.response.output[-1] if self.response.output else None
        if isinstance(last, MessageItem) and last.status == "in_progress":
            return []
        item = MessageItem(id=_name("msg"))
        self.response.output.append(item)
        added = ("response.output_item.added", {"output_index": self._index, "item": item.model_copy(deep=True)})
        item.content.append(part)
        return [added, ("response.content_part.added", self._place(content_index=0, part=part.model_copy()))]

    def _end_message(self, status: Any = "completed") -> list[Event]:
        item = self.response.output[-1] if self.response.output else None
        if not isinstance(item, MessageItem) or item.status != "in_progress":
            return []
        item.status, part = status, item.content[0]
        told = [("response.content_part.done", self._place(content_index=0, part=part)),
                ("response.output_item.done", {"output_index": self._index, "item": item})]  # fmt: skip
        if isinstance(part, OutputText):
            return [("response.output_text.done", self._place(content_index=0, text=part.text, logprobs=[])), *told]
        return [("response.refusal.done", self._place(content_index=0, refusal=part.refusal)), *told]

    # Pictures.

    def _begin_picture(self, prompt: str) -> list[Event]:
        self.response.output.append(ImageItem(id=_name("ig"), revised_prompt=prompt))
        self._previews = 0
        item = cast(ImageItem, self.response.output[-1])
        added = ("response.output_item.added", {"output_index": self._index, "item": item.model_copy()})
        item.status = "generating"
        return [
            added,
            *((f"response.image_generation_call.{name}", self._place()) for name in ("in_progress", "generating")),
        ]

    def _partial(self, event: Denoising) -> list[Event]:
        tool = self.body.image_tool
        if event.preview is None or tool is None or event.step not in preview_steps(tool.partial_images, event.total):
            return []
        content, size = preview_to_base64(event.preview), size_text(event.preview.size)
        told = self._place(
            partial_image_index=self._previews, partial_image_b64=content, size=size, output_format="png"
        )
        self._previews += 1
        return [("response.image_generation_call.partial_image", told)]

    def _picture(self, event: PictureReady) -> list[Event]:
        tool, item = self.body.image_tool, cast(ImageItem, self.response.output[-1])
        form = (tool and tool.output_format) or "png"
        quality = None if tool is None else tool.output_compression
        item.result = to_base64(event, form, quality, self.service.signer)
        item.status, item.size, item.output_format = "completed", size_text(event.image.size), form
        item.revised_prompt, item.seed = event.record.prompt, event.record.seed
        item.background, item.quality = "opaque", "auto"
        return [("response.image_generation_call.completed", self._place()),
                ("response.output_item.done", {"output_index": self._index, "item": item})]  # fmt: skip

    def _failed(self, message: str) -> list[Event]:
        """A picture that came to nothing, and why."""
        told: list[Event] = []
        last = self.response.output[-1] if self.response.output else None
        if isinstance(last, ImageItem) and last.status == "generating":
            last.status = "failed"
            told.append(("response.output_item.done", {"output_index": self._index, "item": last}))
        if message == WITHHELD:
            self.response.incomplete_details = Incomplete(reason="content_filter")
        told += self._end_message()
        refusal = self.service.engine.public(message)
        told += self._begin_message(OutputRefusal(refusal=refusal))
        return [*told, ("response.refusal.delta", self._place(content_index=0, delta=refusal)), *self._end_message()]

    @property
    def _index(self) -> int:
        return len(self.response.output) - 1

    def _place(self, **more: Any) -> dict[str, Any]:
        return {"item_id": self.response.output[-1].id, "output_index": self._index, **more}


def _name(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(16)}"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
