"""When requests are worked on: they wait in the queue, and what is done for them ends when their clients leave."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from llmga.assistant.events import Failed
from llmga.serve.api import usage
from llmga.serve.api.engine import Engine, RunningTurn
from llmga.serve.api.errors import ApiError
from llmga.serve.api.fair_queue import FairQueue

Result = TypeVar("Result")


async def cancel_on_disconnect(receive: Receive, work: Awaitable[Result]) -> Result:
    """Return the result of `work`; when the client leaves first, the work is cancelled.

    Args:
        receive: Of a request whose body has been read.

    Raises:
        ClientDisconnect: The client left.
    """

    async def disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(disconnect())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


class RequestScheduler:
    """Starts the turns of requests when it is their time, and ends them.

    Attributes:
        engine: What new requests are answered by.
        turns: What is at work.
        closed: Nothing new is begun.
        stopping: What is at work ends, as the server does.
    """

    def __init__(self, engine: Engine, queue: FairQueue):
        self.engine = engine
        self.queue = queue
        self.turns: set[RunningTurn] = set()
        self.closed: bool = False
        self.stopping: bool = False

    @property
    def draining(self) -> int:
        """How many are at work with models that were replaced."""
        return sum(turn.engine.models is not self.engine.models for turn in self.turns)

    async def start(self, request: Request, prepare: Callable[[], RunningTurn]) -> RunningTurn:
        """Wait for a place, and return the turn at work once its first event is there.

        Args:
            prepare: Makes the turn, in a thread and only once there is a place: pictures are opened then.

        Raises:
            ApiError: 400 where its first event is a failure; 429 or 503 as in `FairQueue.acquire`.
            ClientDisconnect: The client left.
        """
        return await cancel_on_disconnect(request.receive, self.begin(request.state.client, prepare))

    async def begin(self, client: str, prepare: Callable[[], RunningTurn]) -> RunningTurn:
        """The same for whoever is told of a client's leaving by being cancelled.

        Args:
            client: Under whose name it waits.
            prepare: As `start` takes it.

        Raises:
            ApiError: As `start`.
        """
        clock = asyncio.get_running_loop().time
        came = clock()
        with self.engine.tracing.span("queue"):
            place = await self.queue.acquire(client)
        try:
            self.engine.metrics.queued_seconds.observe(clock() - came)
            turn = await asyncio.to_thread(prepare)
        except BaseException:
            place()
            raise
        if (meter := usage.current()) is not None:
            meter.model = turn.model
        self.turns.add(turn)
        if self.stopping:
            turn.cancel()

        def ended() -> None:
            place()
            self.turns.discard(turn)

        turn.start(ended, place.step_aside, client)
        try:
            first = await turn.first()
        except BaseException:
            turn.cancel()
            raise
        if isinstance(first, Failed) and not first.cut:
            turn.cancel()
            raise ApiError(400, turn.engine.public(first.message))
        return turn

    async def finish(self, request: Request, turn: RunningTurn, work: Awaitable[Result]) -> Result:
        """Return what `work` makes of the turn's events; the turn ends with it.

        Raises:
            ClientDisconnect: The client left.
        """
        try:
            return await cancel_on_disconnect(request.receive, work)
        finally:
            turn.cancel()

    def close(self) -> None:
        """Let nobody in any more; what is at work goes on."""
        self.closed = True
        self.queue.close()

    def end(self, stop: bool) -> None:
        """What a queue tells that lets nobody in any more by itself.

        Args:
            stop: What is at work is to end, too.
        """
        self.closed = True
        if stop:
            self.stop()

    def stop(self) -> None:
        """End what is at work within a step, and whatever is begun from now on; clients get what there is."""
        self.stopping = True
        for turn in tuple(self.turns):
            turn.cancel()
