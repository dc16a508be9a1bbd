"""/v1/chat/completions: a conversation in, words and pictures out."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event

from llmga.assistant.events import Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.safety import WITHHELD
from llmga.assistant.session import Turn
from llmga.llava.conversation import Conversation
from llmga.llava.planner import Planner
from llmga.serve.api.chat_schemas import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    ImageUrl,
    MessageOut,
    PaintedImage,
    Usage,
)
from llmga.serve.api.engine import RunningTurn
from llmga.serve.api.errors import ApiError
from llmga.serve.api.fair_queue import closing
from llmga.serve.api.image_data import to_base64, to_data_uri
from llmga.serve.api.messages import image_urls, latest, tagged, to_conversation, to_markdown
from llmga.serve.api.routing import v1_router
from llmga.serve.api.scheduler import cancel_on_disconnect
from llmga.serve.api.service import Service
from llmga.serve.api.streaming import EventStream, data_event, progress_comment

router: APIRouter = v1_router(streams=True)


@router.post("/chat/completions", response_model=ChatResponse)
async def chat_completions(body: ChatRequest, request: Request) -> ChatResponse | Response:
    """Talk, and see it painted."""
    service: Service = request.app.state.service
    if service.names.is_pipeline(body.model):
        raise ApiError(400, "this model paints and does not talk; ask it under /v1/images, or leave the model out.",
                       param="model")  # fmt: skip
    if (body.tools or body.functions) and not service.ignore_tools:
        raise ApiError(400, "tools are not served here; leave them out, or start the server with --ignore-tools.")
    responder = ChatResponder(service, body.model or service.names.assistant[0])
    client, urls = request.state.client, [*image_urls(body.messages), *body.control_urls]
    fetched = await cancel_on_disconnect(request.receive, service.fetch_images(urls, client))
    turn = await service.scheduler.start(request, lambda: responder.turn(body, client, fetched))
    if body.stream:
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(turn, responder.events(turn, with_usage))
    return await service.scheduler.finish(request, turn, responder.response(turn))


@dataclass
class ChatResponder:
    """Makes the answer to one request of the events of its turn.

    Attributes:
        model: The name that the answer bears.
        length: Characters of words so far.
        images: How many were painted.
        usage: Known once all went well.
        previews: Small pictures of unfinished ones are wanted.
        paints: A picture was asked for and is not there yet.
    """

    service: Service
    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    length: int = 0
    images: int = 0
    finish_reason: FinishReason = "stop"
    usage: Usage | None = None
    previews: bool = False
    paints: bool = False

    def turn(
        self, body: ChatRequest, client: str, fetched: Mapping[str, bytes], mask_url: str | None = None
    ) -> RunningTurn:
        """Return the turn that is to be run; blocking.

        Args:
            client: Whose caches may be used.
            fetched: The pictures that lie elsewhere, by their addresses.
            mask_url: Of the first picture of the last message, transparent where it is to be painted anew.

        Raises:
            ApiError: A message is too long, a picture broken, or more is asked for than one answer may cost.
            UserError: The models cannot do it.
        """
        service = self.service
        max_length, open_image = service.bounds.message, service.image_opener(fetched, exact=mask_url is not None)
        conversation = latest(to_conversation(body.messages, open_image), max_length)
        if max(len(conversation.messages[-1].text), len(conversation.system or "")) > max_length:
            raise too_long(max_length)
        controls = service.control_images(body.control_urls, fetched)
        more = {"max_new_tokens": body.max_completion_tokens, "previews": self.previews or None}
        settings = service.settings(body, control_images=controls, **more)
        mask = None if mask_url is None else open_image(mask_url)
        planner, known = service.prefix_cache.take(client, conversation)
        *earlier, last = known.messages

        def done() -> None:
            conversation = turn.assistant.session.conversation
            self.usage = usage_of(planner, conversation)
            service.prefix_cache.put(client, planner, conversation)

        before = replace(known, messages=tuple(earlier))
        turn = service.engine.turn(
            planner, Turn(last.text, last.images, mask), settings, conversation=before, done=done
        )
        return turn

    async def deltas(self, turn: RunningTurn) -> AsyncGenerator[Delta | Denoising]:
        """Yield the events as pieces of a message, and progress between them."""
        async for event in turn.events():
            match event:
                case TextDelta(text):
                    self.length += len(text)
                    yield Delta(content=text)
                case PromptFound(prompt) if not turn.assistant.settings.paint:
                    yield Delta(content=tagged(prompt))
                case PromptFound():
                    self.paints = True
                case PictureReady():
                    image = await asyncio.to_thread(self._image, event)
                    self.images += 1
                    self.paints = False
                    yield Delta(content=to_markdown(image)) if self.service.markdown else Delta(images=[image])
                case Denoising():
                    yield event
                case Stopped():
                    self.finish_reason = "length"
                    if self.paints:  # a client that reads this is not the one that stopped it: the server is
                        yield Delta(refusal=closing().message)
                case Failed(cut=True):
                    self.finish_reason = "length"
                case Failed(message):
                    self.finish_reason = "content_filter" if message == WITHHELD else self.finish_reason
                    yield Delta(refusal=self.service.engine.public(message))

    def _image(self, event: PictureReady) -> PaintedImage:
        record = event.record
        url = ImageUrl(url=to_data_uri(to_base64(event, signer=self.service.signer)))
        return PaintedImage(
            image_url=url, index=self.images, revised_prompt=record.prompt, offset=self.length, seed=record.seed
        )

    async def response(self, turn: RunningTurn) -> ChatResponse:
        """Return the answer as one message."""
        message, images = MessageOut(), []
        async for delta in self.deltas(turn):
            if isinstance(delta, Delta):
                message.content += delta.content or ""
                message.refusal = delta.refusal or message.refusal
                images += delta.images or []
        message.images = images or None
        choice = Choice(message=message, finish_reason=self.finish_reason)
        return ChatResponse(id=self.id, created=self.created, model=self.model, choices=[choice], usage=self.usage)

    async def events(self, turn: RunningTurn, with_usage: bool) -> AsyncGenerator[bytes]:
        """Yield the answer as server-sent events, with OpenAI's last one."""
        yield data_event(self._chunk(Delta(role="assistant", content="")))
        async for delta in self.deltas(turn):
            yield progress_comment(delta) if isinstance(delta, Denoising) else data_event(self._chunk(delta))
        yield data_event(self._chunk(Delta(), finish_reason=self.finish_reason))
        if with_usage:
            usage = self.usage or Usage()
            yield data_event(self._chunk(Delta()).model_copy(update={"choices": [], "usage": usage}))
        yield format_sse_event(data_str="[DONE]")

    def _chunk(self, delta: Delta, finish_reason: FinishReason | None = None) -> ChatChunk:
        choice = ChunkChoice(delta=delta, finish_reason=finish_reason)
        return ChatChunk(id=self.id, created=self.created, model=self.model, choices=[choice])


def too_long(max_length: float) -> ApiError:
    """Return the refusal of a message that no tokenizer need look at."""
    return ApiError(
        400,
        f"the message has over {max_length:,} characters, which is more than the model reads; shorten it.",
        param="messages",
        code="context_length_exceeded",
    )


def usage_of(planner: Planner, conversation: Conversation) -> Usage | None:
    """Return the tokens of the last question and answer; None where the planner counts none."""
    counted = planner.count(conversation)
    if counted is None:
        return None
    read, written = counted
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
