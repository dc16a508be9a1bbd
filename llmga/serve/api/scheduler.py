"""Where requests come in: they wait their turn, and what is done for them ends when they leave."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from llmga.assistant.events import Failed
from llmga.serve.api.engine import Engine, Job
from llmga.serve.api.errors import ApiError, defect
from llmga.serve.api.fairness import FairQueue
from llmga.serve.api.logs import request_id, tell

Result = TypeVar("Result")


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


async def while_present(receive: Receive, work: Awaitable[Result]) -> Result:
    """What the work gives; when the client leaves first, the work is cancelled.

    Args:
        receive: of a request whose body has been read.

    Raises: ClientLeft.
    """

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft
        return task.result()
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


class RequestScheduler:
    """Takes requests in.

    Attributes:
        jobs: what is at work.
    """

    def __init__(self, engine: Engine, queue: FairQueue):
        self.engine, self.queue = engine, queue
        self.jobs: set[Job] = set()
        self.closed = self.stopped = False

    async def begin(self, request: Request, prepare: Callable[[], Job]) -> Job:
        """A job at work whose first event is there.

        Args:
            prepare: makes the job, in a thread and only once there is a place: pictures are opened then.

        Raises: ApiError, 400 where its first event is a failure; ClientLeft.
        """
        return await while_present(request.receive, self._begun(request.state.client, prepare))

    async def _begun(self, client: str, prepare: Callable[[], Job]) -> Job:
        clock = asyncio.get_running_loop().time
        came = clock()
        leave = await self.queue.enter(client)
        try:
            self.engine.metrics.queued_seconds.observe(clock() - came)
            job = await asyncio.to_thread(prepare)
        except BaseException:
            leave()
            raise
        self.jobs.add(job)
        if self.stopped:
            job.cancel()
        job.start(lambda: (leave(), self.jobs.discard(job)))
        try:
            first = await job.first()
        except BaseException:
            job.cancel()
            raise
        if isinstance(first, Failed) and not first.cut:
            job.cancel()
            raise ApiError(400, self.engine.public(first.message))
        return job

    async def finish(self, request: Request, job: Job, work: Awaitable[Result]) -> Result:
        """What the work makes of the job's events; the job ends with it.  Raises: ApiError, ClientLeft."""
        try:
            return await while_present(request.receive, work)
        finally:
            job.cancel()

    def close(self) -> None:
        """Let nobody in any more; what is at work goes on."""
        self.closed = True
        self.queue.close()

    def stop(self) -> None:
        """End what is at work within a step, and whatever is begun from now on; clients get what there is."""
        self.stopped = True
        for job in tuple(self.jobs):
            job.cancel()


class EventStream(Response):
    """Server-sent events, for as long as the client listens.

    Args:
        pieces: models and texts are sent as data, `(name, model)` with an event's name, a `Comment` as one.
        job: cancelled when the client leaves.
    """

    media_type = "text/event-stream"

    def __init__(self, job: Job, pieces: AsyncIterator[Any]):
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.job, self.pieces = job, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_present(receive, self._send_all(send))
        finally:
            self.job.cancel()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._told()) as told:
            async for text in told:
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _told(self) -> AsyncIterator[str]:
        """The pieces as text; what goes wrong on the way is told as an error of the usual shape."""
        try:
            async with aclosing(self.pieces) as pieces:
                async for piece in pieces:
                    yield as_event(piece)
        except ApiError as error:
            yield as_event(error.body())
        except Exception:
            tell("defect", logging.ERROR, exc_info=True)
            yield as_event(defect(request_id.get() or "").body())


class Comment(str):
    """A line that clients skip; it shows that there is life."""


def as_event(piece: Any) -> str:
    """One server-sent event."""
    if isinstance(piece, Comment):
        return f": {piece}\n\n"
    name, piece = piece if isinstance(piece, tuple) else (None, piece)
    if isinstance(piece, BaseModel):
        piece = piece.model_dump_json()
    elif not isinstance(piece, str):
        piece = json.dumps(piece)
    return (f"event: {name}\n" if name else "") + f"data: {piece}\n\n"
