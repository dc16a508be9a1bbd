"""A bounded queue of requests in which every client comes round in turn."""

import asyncio
import math
from collections import deque
from collections.abc import Callable

from llmga.serve.api.errors import ApiError

FIRST_GUESS = 2.0  # seconds that a request takes, until some have been seen
MEMORY = 0.2  # weight of the latest request in the mean


class FairQueue:
    """A queue with at most `at_once` requests at work and `bound` waiting.

    Clients come round in turn, whatever number of requests each has waiting.  When the queue is full, a client that
    has fewer waiting than the greediest one takes the place of that one's latest request; so nobody can fill the queue
    against others.  Everything happens on one event loop.

    Attributes:
        running: Requests at work.
        most_waiting: The most that have waited at once.
    """

    def __init__(self, at_once: int, bound: int):
        self.at_once = at_once
        self.bound = bound
        self.running: int = 0
        self.most_waiting: int = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._mean_seconds = FIRST_GUESS
        self._closed = False

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(map(len, self._waiting.values()))

    async def acquire(self, client: str) -> Callable[[], None]:
        """Wait for a place at work.

        Returns:
            A function that gives the place back; it may be called more than once.

        Raises:
            ApiError: 429 where there is no room; 503 where the server is about to end.
        """
        if self._closed:
            raise closing()
        if self.running < self.at_once and not self._waiting:
            self.running += 1
        else:
            await self._wait(client)
        return self._release_once()

    def adopt(self) -> Callable[[], None]:
        """Count a request that is at work already, whatever the bounds; returns as `acquire`."""
        self.running += 1
        return self._release_once()

    async def _wait(self, client: str) -> None:
        self._make_room(client)
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(called)
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled() and called.exception() is None:
                self._release()  # the client left just when it was called
            else:
                self._forget(client, called)
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
        """Return the refusal where there is no room, with the time in which there should be some."""
        seconds = math.ceil(self._mean_seconds * (self.waiting + 1) / self.at_once)
        return ApiError(
            429,
            f"all {self.at_once} places at work and {self.bound} in the queue are taken; try again in {seconds} s.",
            code="queue_full",
            retry_after=seconds,
        )

    def _forget(self, client: str, called: asyncio.Future[None]) -> None:
        own = self._waiting.get(client)
        if own is None or called not in own:
            return
        own.remove(called)
        if not own:
            del self._waiting[client]

    def _release_once(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        began, released = loop.time(), False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._mean_seconds += MEMORY * (loop.time() - began - self._mean_seconds)
                self._release()

        return release

    def _release(self) -> None:
        self.running -= 1
        while self._waiting and self.running < self.at_once:
            client = next(iter(self._waiting))
            own = self._waiting.pop(client)
            called = own.popleft()
            if own:
                self._waiting[client] = own  # behind all others
            if not called.done():
                self.running += 1
                called.set_result(None)

    def close(self) -> None:
        """Let nobody in any more, and send away those who wait."""
        self._closed = True
        for own in self._waiting.values():
            for called in own:
                if not called.done():
                    called.set_exception(closing())
        self._waiting.clear()


def closing() -> ApiError:
    """Return the refusal of a request that is not begun any more."""
    return ApiError(503, "the server is about to end; try again in a moment.", code="closing", retry_after=5)
