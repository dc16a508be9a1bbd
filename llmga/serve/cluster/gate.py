"""One queue for all replicas of the application, so that its bounds and turns are those of the whole server."""

import asyncio
import itertools
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmga.serve.api.errors import ApiError
from llmga.serve.api.fair_queue import FairQueue, Place, closing
from llmga.serve.api.logs import log_event
from llmga.serve.cluster.calls import ATTEMPTS, lost, unavailable
from llmga.serve.cluster.figures import together

BEAT = 1.0  # seconds between two signs of life of an application
FORGOTTEN = 10.0  # seconds without one, after which its places are given to others
TOLD = 5  # beats between two times that it tells its figures
WITHDRAWN = 10_000  # tickets that were given back before they were called, at most


@dataclass(frozen=True)
class Turned:
    """A refusal, as it travels."""

    status: int
    message: str
    code: str | None
    retry_after: int | None


@dataclass(frozen=True)
class Load:
    """What the queue holds of other applications than the one that asks, and the most that it has held of all.

    Attributes:
        closing: nobody is let in any more.
        stopping: what is at work is to end, too.
    """

    running: int = 0
    aside: int = 0
    waiting: int = 0
    most_waiting: int = 0
    closing: bool = False
    stopping: bool = False


class Gate:
    """The queue of the whole server, and who holds which place.

    Places of an application that gives no sign of life fall back.  A gate that is started anew learns from such signs
    who is at work.
    """

    def __init__(self, at_once: int, bound: int, line: int = 0, forgotten: float = FORGOTTEN):
        self.queue = FairQueue(at_once, bound, line)
        self._waits: Counter[str] = Counter()  # by application
        self._held: dict[str, dict[str, Place]] = {}  # by application and ticket
        self._seen: dict[str, float] = {}
        self._withdrawn: deque[str] = deque(maxlen=WITHDRAWN)
        self._figures: dict[str, str] = {}
        self._forgotten = forgotten
        self._closing = self._stopping = False

    async def acquire(self, holder: str, ticket: str, client: str) -> Turned | None:
        """Wait for a place; None where there is one now.

        Args:
            holder: the application.
            ticket: chosen by it; with it the place is given back.
            client: under whose name it waits.
        """
        self._forget_lost()
        self._seen[holder] = time.monotonic()
        self._waits[holder] += 1
        try:
            place = await self.queue.acquire(client)
        except ApiError as error:
            after = error.headers.get("Retry-After")
            return Turned(error.status, error.message, error.code, None if after is None else int(after))
        finally:
            self._waits[holder] -= 1
        if ticket in self._withdrawn:
            place()
        else:
            self._held.setdefault(holder, {})[ticket] = place
        return None

    async def release(self, holder: str, ticket: str) -> None:
        """Give a place back, or stop waiting for one."""
        if (place := self._held.get(holder, {}).pop(ticket, None)) is not None:
            place()
        else:
            self._withdrawn.append(ticket)

    async def step_aside(self, holder: str, ticket: str) -> None:
        """Let another one to work while this one waits for its picture."""
        if (place := self._held.get(holder, {}).get(ticket)) is not None:
            place.step_aside()

    async def beat(self, holder: str, tickets: Mapping[str, bool]) -> Load:
        """Take note that an application lives, and of all places that it holds.

        Args:
            tickets: with each, whether it has stepped aside.
        """
        self._seen[holder] = time.monotonic()
        held = self._held.setdefault(holder, {})
        for ticket, aside in tickets.items():
            if ticket not in held and ticket not in self._withdrawn:
                held[ticket] = self.queue.adopt(aside)
        self._forget_lost()
        queue = self.queue
        own = sum(place.aside for place in held.values())
        waiting = queue.waiting - self._waits[holder]
        return Load(queue.running - len(held), queue.aside - own, waiting, queue.most_waiting, self._closing,
                    self._stopping)  # fmt: skip

    async def end(self, stop: bool = False) -> int:
        """Let nobody in any more; how many are at work.

        Args:
            stop: What is at work is to end; the applications learn it with their next signs of life.
        """
        self._closing, self._stopping = True, self._stopping or stop
        self.queue.close()
        self._forget_lost()
        return self.queue.running

    async def figures(self, holder: str, text: str) -> dict[str, str]:
        """Take note of what an application tells to Prometheus; return the latest of all, by application."""
        self._figures[holder] = text
        self._forget_lost()
        return {each: told for each, told in self._figures.items() if each == holder or each in self._seen}

    def _forget_lost(self) -> None:
        late = time.monotonic() - self._forgotten
        for holder in [holder for holder, seen in self._seen.items() if seen < late]:
            del self._seen[holder]
            self._figures.pop(holder, None)
            self._waits.pop(holder, None)
            places = self._held.pop(holder, {})
            log_event("application lost", places=len(places))
            for place in places.values():
                place()


@dataclass(eq=False)
class RemotePlace(Place):
    """A place at the gate.

    Attributes:
        ticket: by which the gate knows it.
    """

    ticket: str = ""


class RemoteQueue(FairQueue):
    """The gate, as one application sees it: a `FairQueue` whose places are the whole server's.

    Attributes:
        running: requests at work in the whole server, those of other applications at the latest beat.
        most_waiting: in the whole server, at the latest beat.
        figures: returns what this application tells to Prometheus; others of its kind are told it, too.
        ends: called at every sign of life once nobody is let in any more; with True, what is at work is to end, too.
    """

    figures: Callable[[], bytes] | None = None
    ends: Callable[[bool], None] = staticmethod(lambda stop: None)

    def __init__(self, handle: Any, at_once: int, bound: int, line: int = 0, beat: float = BEAT):
        super().__init__(at_once, bound, line)
        self._handle, self._beat = handle, beat
        self._holder = secrets.token_hex(8)
        self._places: dict[str, RemotePlace] = {}
        self._load = Load()
        self._waits: set[asyncio.Future[Turned | None]] = set()
        self._beating: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait in the whole server, those of other applications at the latest beat."""
        return self._load.waiting + len(self._waits)

    def start(self) -> None:
        """Begin to give signs of life; on the event loop."""
        if self._beating is None:
            self._beating = asyncio.get_running_loop().create_task(self._live())

    async def acquire(self, client: str) -> Place:
        """Wait for a place at work; as `FairQueue.acquire`.

        Raises:
            ApiError: 429 or 503 of the gate; 503 where there is none.
        """
        if self._closed:
            raise closing()
        self.start()
        ticket = secrets.token_hex(8)
        waits = asyncio.ensure_future(self._asked(ticket, client))
        self._waits.add(waits)
        try:
            refused = await waits
        except asyncio.CancelledError:
            if self._closed and waits.cancelled():
                raise closing() from None
            raise
        finally:
            self._waits.discard(waits)
        if refused is not None:
            raise ApiError(refused.status, refused.message, code=refused.code, retry_after=refused.retry_after)
        place = RemotePlace(self, asyncio.get_running_loop().time(), ticket=ticket)
        self._places[ticket] = place
        self._count()
        return place

    def step_aside(self, place: Place) -> None:
        """One that is at work waits for the painter."""
        assert isinstance(place, RemotePlace)
        self._count()
        self._handle.step_aside.remote(self._holder, place.ticket)

    def release(self, place: Place) -> None:
        """One that was at work has ended."""
        assert isinstance(place, RemotePlace)
        self._places.pop(place.ticket, None)
        self._count()
        self._given_back(place.ticket)

    async def _asked(self, ticket: str, client: str) -> Turned | None:
        for attempt in range(1, ATTEMPTS + 1):
            response = self._handle.acquire.remote(self._holder, ticket, client)
            try:
                refused: Turned | None = await response
                return refused
            except asyncio.CancelledError:
                response.cancel()
                self._given_back(ticket)
                raise
            except lost() as problem:
                log_event("queue lost", attempt=attempt, kind=type(problem).__name__)
                await asyncio.sleep(self._beat)
        raise unavailable()

    def _given_back(self, ticket: str) -> None:
        self._handle.release.remote(self._holder, ticket)

    async def _live(self) -> None:
        for number in itertools.count():
            try:
                held = {ticket: place.aside for ticket, place in self._places.items()}
                self._load = await self._handle.beat.remote(self._holder, held)
                self._count()
                if self._load.closing:
                    self.ends(self._load.stopping)
                if self.figures is not None and number % TOLD == 0:
                    await self._handle.figures.remote(self._holder, self.figures().decode())
            except lost() as problem:
                log_event("queue lost", kind=type(problem).__name__)
            await asyncio.sleep(self._beat)

    async def all_figures(self) -> bytes:
        """Return the figures of all applications; the own ones alone where there is no gate just now."""
        own = b"" if self.figures is None else self.figures()
        try:
            texts = await self._handle.figures.remote(self._holder, own.decode())
        except lost():
            return own
        return own if len(texts) == 1 else together(texts, self._holder)

    def _count(self) -> None:
        self.running = self._load.running + len(self._places)
        self.aside = self._load.aside + sum(place.aside for place in self._places.values())
        self.most_waiting = max(self._load.most_waiting, self.waiting)

    def close(self) -> None:
        """Let nobody in any more, and send away those who wait."""
        self._closed = True
        for waits in self._waits:
            waits.cancel()
        if self._beating is not None:
            self._beating.cancel()
