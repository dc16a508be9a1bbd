"""A bounded queue of requests in which every client comes round in turn."""

import asyncio
import math
from collections import deque
from dataclasses import dataclass

from llmga.serve.api.errors import ApiError

FIRST_GUESS = 2.0  # seconds that a request takes, until some have been seen
MEMORY = 0.2  # weight of the latest request in the mean


@dataclass(eq=False)
class Place:
    """A place at work; called, it is given back, which may be done more than once."""

    queue: "FairQueue"
    came: float
    aside: bool = False
    left: bool = False

    def step_aside(self) -> None:
        """Wait for the painter from now on, so that another one's words may be written meanwhile."""
        if not (self.left or self.aside):
            self.aside = True
            self.queue.step_aside(self)

    def __call__(self) -> None:
        if not self.left:
            self.left = True
            self.queue.release(self)


class FairQueue:
    """A queue with at most `at_once` requests at work and `bound` waiting.

    Whoever is at work may step aside to wait for the painter; `line` more may be at work then.  Clients come round in
    turn, whatever number of requests each has waiting.  When the queue is full, a client that has fewer waiting than
    the greediest one takes the place of that one's latest request; so nobody can fill the queue against others.
    Everything happens on one event loop.

    Attributes:
        running: Requests at work, those included that have stepped aside.
        aside: Those that have.
        most_waiting: The most that have waited at once.
    """

    def __init__(self, at_once: int, bound: int, line: int = 0):
        self.at_once = at_once
        self.bound = bound
        self.line = line
        self.running: int = 0
        self.aside: int = 0
        self.most_waiting: int = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._mean_seconds = FIRST_GUESS
        self._closed = self._paused = False

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def _has_place(self) -> bool:
        allowed = self.running - self.aside < self.at_once and self.running < self.at_once + self.line
        return allowed and not self._paused

    async def acquire(self, client: str) -> Place:
        """Wait for a place at work.

        Raises:
            ApiError: 429 where there is no room; 503 where the server is about to end.
        """
        if self._closed:
            raise closing()
        if self._has_place and not self._waiting:
            self.running += 1
        else:
            await self._wait(client)
        return Place(self, asyncio.get_running_loop().time())

    def adopt(self, aside: bool = False) -> Place:
        """Count a request that is at work already, whatever the bounds.

        Args:
            aside: It has stepped aside.
        """
        self.running += 1
        self.aside += aside
        return Place(self, asyncio.get_running_loop().time(), aside)

    async def _wait(self, client: str) -> None:
        self._make_room(client)
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(called)
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled() and called.exception() is None:
                self.running -= 1  # the client left just when it was called
                self._call()
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
        seconds = math.ceil(self._mean_seconds * (self.waiting + 1) / max(1, self.running))
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

    def step_aside(self, place: Place) -> None:
        """One that is at work waits for the painter; see `Place`."""
        self.aside += 1
        self._call()

    def release(self, place: Place) -> None:
        """One that was at work has ended; see `Place`."""
        seconds = asyncio.get_running_loop().time() - place.came
        self._mean_seconds += MEMORY * (seconds - self._mean_seconds)
        self.running -= 1
        self.aside -= place.aside
        self._call()

    def _call(self) -> None:
        """Let in whoever there is a place for now."""
        while self._waiting and self._has_place:
            client = next(iter(self._waiting))
            own = self._waiting.pop(client)
            called = own.popleft()
            if own:
                self._waiting[client] = own  # behind all others
            if not called.done():
                self.running += 1
                called.set_result(None)

    def pause(self) -> None:
        """Let everybody wait; what is at work goes on."""
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False
        self._call()

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
