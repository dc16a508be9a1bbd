"""Answers as streams of server-sent events."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from llmga.assistant.events import Denoising
from llmga.serve.api.engine import RunningTurn
from llmga.serve.api.errors import ApiError, internal_error
from llmga.serve.api.logs import log_event, request_id
from llmga.serve.api.scheduler import cancel_on_disconnect


class EventStream(EventSourceResponse):
    """A stream of server-sent events, which goes on for as long as the client listens.

    Args:
        turn: Cancelled when the client leaves.
        events: Made by `data_event` and `progress_comment`.
    """

    def __init__(self, turn: RunningTurn, events: AsyncGenerator[bytes]):
        super().__init__(
            with_error_event(events),
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self.turn = turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await cancel_on_disconnect(receive, self.stream_response(send))
        finally:
            self.turn.cancel()


async def with_error_event(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the events; what goes wrong on the way is told as an error of the usual form."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except ApiError as error:
        yield format_sse_event(data_str=json.dumps(error.body()))
    except Exception:
        log_event("defect", logging.ERROR, exc_info=True)
        yield format_sse_event(data_str=json.dumps(internal_error(request_id.get() or "").body()))


def data_event(content: BaseModel, name: str | None = None) -> bytes:
    """Return an event of this name that holds a model as JSON."""
    return format_sse_event(data_str=content.model_dump_json(), event=name)


def progress_comment(event: Denoising) -> bytes:
    """Return a comment, which clients skip; it shows that there is life."""
    return format_sse_event(comment=f"painting {event.step}/{event.total}")
