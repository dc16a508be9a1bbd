"""/v1/chat/completions: a conversation in, words and pictures out."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

from fastapi import Request, Response

from llmga.assistant.events import Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.safety import WITHHELD
from llmga.assistant.session import Turn
from llmga.llava.conversation import Conversation
from llmga.llava.planner import Planner
from llmga.serve.api.chat_shapes import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    ChunkChoice,
    Delta,
    ImageUrl,
    MessageOut,
    PaintedImage,
    Usage,
)
from llmga.serve.api.encoding import data_uri, encoded
from llmga.serve.api.engine import Job
from llmga.serve.api.errors import ApiError
from llmga.serve.api.messages import addresses, as_markdown, conversation_of, recent, tagged
from llmga.serve.api.scheduler import Comment, EventStream, while_present
from llmga.serve.api.service import Service


async def complete(service: Service, body: ChatRequest, request: Request) -> ChatResponse | Response:
    """Answer, whole or as a stream.  Raises: ApiError, ClientLeft."""
    if service.names.is_painter(body.model):
        raise ApiError(400, "this model paints and does not talk; ask it under /v1/images, or leave the model out.",
                       param="model")  # fmt: skip
    if (body.tools or body.functions) and not service.ignore_tools:
        raise ApiError(400, "tools are not served here; leave them out, or start the server with --ignore-tools.")
    answer = Answer(service, body.model or service.names.assistant[0])
    client = request.state.client
    fetched = await while_present(request.receive, service.fetched(addresses(body.messages), client))
    job = await service.desk.begin(request, lambda: answer.job(body, client, fetched))
    if body.stream:
        return EventStream(job, answer.chunks(job, bool(body.stream_options and body.stream_options.include_usage)))
    return await service.desk.finish(request, job, answer.whole(job))


@dataclass
class Answer:
    """One answer on its way.

    Attributes:
        length: characters of words so far.
        pictures: how many were painted.
    """

    service: Service
    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    length: int = 0
    pictures: int = 0
    finish: str = "stop"
    usage: Usage | None = None

    def job(self, body: ChatRequest, client: str, fetched: Mapping[str, bytes]) -> Job:
        """The work for a request.

        Args:
            fetched: the pictures that lie elsewhere, by their addresses.

        Raises: ApiError, UserError.
        """
        service = self.service
        longest = service.bounds.message
        wanted = recent(conversation_of(body.messages, service.look(fetched)), longest)
        if max(len(wanted.messages[-1].text), len(wanted.system or "")) > longest:
            raise too_long(longest)
        settings = service.settings(body, max_new_tokens=body.max_completion_tokens)
        planner, known = service.warm.take(client, wanted)
        *earlier, last = known.messages

        def done() -> None:
            conversation = job.assistant.session.conversation
            self.usage = usage_of(planner, conversation)
            service.warm.give_back(client, planner, conversation)

        before = replace(known, messages=tuple(earlier))
        turn = Turn(last.text, last.images)
        job = service.engine.job(planner, turn, settings, conversation=before, done=done)
        return job

    async def deltas(self, job: Job) -> AsyncIterator[Delta | Comment]:
        """The events as pieces of a message, and signs of life between them."""
        async for event in job.events():
            match event:
                case TextDelta(text):
                    self.length += len(text)
                    yield Delta(content=text)
                case PromptFound(prompt) if not job.assistant.settings.paint:
                    yield Delta(content=tagged(prompt))
                case PictureReady():
                    image = await asyncio.to_thread(self._painted, event)
                    self.pictures += 1
                    yield Delta(content=as_markdown(image)) if self.service.markdown else Delta(images=[image])
                case Denoising(step, total):
                    yield Comment(f"painting {step}/{total}")
                case Failed(cut=True) | Stopped():
                    self.finish = "length"
                case Failed(message):
                    self.finish = "content_filter" if message == WITHHELD else self.finish
                    yield Delta(refusal=self.service.engine.public(message))

    def _painted(self, event: PictureReady) -> PaintedImage:
        record = event.record
        url = ImageUrl(url=data_uri(encoded(event.image, record)))
        return PaintedImage(
            image_url=url, index=self.pictures, revised_prompt=record.prompt, offset=self.length, seed=record.seed
        )

    async def whole(self, job: Job) -> ChatResponse:
        """The answer as one message."""
        message, images = MessageOut(), []
        async for delta in self.deltas(job):
            if isinstance(delta, Delta):
                message.content += delta.content or ""
                message.refusal = delta.refusal or message.refusal
                images += delta.images or []
        message.images = images or None
        choice = Choice(message=message, finish_reason=self.finish)
        return ChatResponse(id=self.id, created=self.created, model=self.model, choices=[choice], usage=self.usage)

    async def chunks(self, job: Job, with_usage: bool) -> AsyncIterator[ChatChunk | Comment | str]:
        """The answer as a stream, with OpenAI's last word."""
        yield self._chunk(Delta(role="assistant", content=""))
        async for delta in self.deltas(job):
            yield delta if isinstance(delta, Comment) else self._chunk(delta)
        yield self._chunk(Delta(), finish=self.finish)
        if with_usage:
            yield self._chunk(Delta()).model_copy(update={"choices": [], "usage": self.usage or Usage()})
        yield "[DONE]"

    def _chunk(self, delta: Delta, finish: str | None = None) -> ChatChunk:
        choice = ChunkChoice(delta=delta, finish_reason=finish)
        return ChatChunk(id=self.id, created=self.created, model=self.model, choices=[choice])


def too_long(most: float) -> ApiError:
    """What a client is told whose message no tokenizer need look at."""
    return ApiError(
        400,
        f"the message has over {most:,} characters, which is more than the model reads; shorten it.",
        param="messages",
        code="context_length_exceeded",
    )


def usage_of(planner: Planner, conversation: Conversation) -> Usage | None:
    """Tokens of the last question and answer, as far as the planner counts any."""
    mllm = getattr(planner, "mllm", None)
    if mllm is None or not conversation.messages:
        return None
    *before, answer = conversation.messages
    asked = mllm.encode(Conversation(tuple(before), conversation.system), open_turn=True)
    read = len(asked.input_ids)
    written = len(mllm.tokenizer(answer.text, add_special_tokens=False)["input_ids"])
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
