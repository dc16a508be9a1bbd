"""Who is served next: a bounded queue in which every client comes round in turn."""

import asyncio
import math
from collections import deque
from collections.abc import Callable

from llmga.serve.api.errors import ApiError

FIRST_GUESS = 2.0  # seconds that a request takes, until some have been seen
MEMORY = 0.2  # weight of the latest request in the mean


class FairQueue:
    """At most `at_once` requests at work and `bound` waiting.

    Clients come round in turn, whatever number of requests each has waiting.  When the queue is full, a client that
    has fewer waiting than the greediest one takes the place of that one's latest request; so nobody can fill the queue
    against others.  Everything happens on one event loop.
    """

    def __init__(self, at_once: int, bound: int):
        self.at_once, self.bound = at_once, bound
        self.running = 0
        self.most_waiting = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._seconds = FIRST_GUESS
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    async def enter(self, client: str) -> Callable[[], None]:
        """Wait for a place at work; the result gives it back and may be called more than once.

        Raises: ApiError, 429 where there is no room, 503 where the server is about to end.
        """
        if self._closed:
            raise closing()
        if self.running < self.at_once and not self._waiting:
            self.running += 1
        else:
            await self._turn(client)
        return self._leaving()

    async def _turn(self, client: str) -> None:
        self._make_room(client)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._left()  # the client left just when it was called
            else:
                self._forget(client, turn)
            raise

    def _make_room(self, client: str) -> None:
        if self.waiting < self.bound:
            return
        greediest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=client)
        if len(self._waiting.get(greediest, ())) <= len(self._waiting.get(client, ())) + 1:
            raise self.full()
        latest = self._waiting[greediest][-1]
        self._forget(greediest, latest)
        latest.set_exception(self.full())

    def full(self) -> ApiError:
        """What a client is told for whom there is no room, with the time in which there should be some."""
        seconds = math.ceil(self._seconds * (self.waiting + 1) / self.at_once)
        return ApiError(
            429,
            f"all {self.at_once} places at work and {self.bound} in the queue are taken; try again in {seconds} s.",
            code="queue_full",
            retry_after=seconds,
        )

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        line = self._waiting.get(client)
        if line is None or turn not in line:
            return
        line.remove(turn)
        if not line:
            del self._waiting[client]

    def _leaving(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        began, gone = loop.time(), False

        def leave() -> None:
            nonlocal gone
            if not gone:
                gone = True
                self._seconds += MEMORY * (loop.time() - began - self._seconds)
                self._left()

        return leave

    def _left(self) -> None:
        self.running -= 1
        while self._waiting and self.running < self.at_once:
            client = next(iter(self._waiting))
            line = self._waiting.pop(client)
            turn = line.popleft()
            if line:
                self._waiting[client] = line  # behind all others
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    def close(self) -> None:
        """Let nobody in any more, and send away those who wait."""
        self._closed = True
        for line in self._waiting.values():
            for turn in line:
                if not turn.done():
                    turn.set_exception(closing())
        self._waiting.clear()


def closing() -> ApiError:
    """What a client is told whose request is not begun any more."""
    return ApiError(503, "the server is about to end; try again in a moment.", code="closing", retry_after=5)
