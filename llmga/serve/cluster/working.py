"""How a replica works: in threads beside its event loop, until whoever asked has had enough."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any, TypeVar

from llmga.errors import UserError
from llmga.serve.cluster.messages import Begun, Refused

THREADS = 64  # more than Serve lets in at once
STUCK = 600.0  # seconds without a sign of life after which work will not end any more
DEAD_DEVICE = ("cuda error", "device-side assert", "hip error")  # after which no work of this process succeeds

Report = Callable[[Any], None]
Result = TypeVar("Result")


class Workshop:
    """The threads of a replica, and whether their work goes on.

    Attributes:
        broken: why no work can succeed in this process any more; empty while it can.
    """

    def __init__(self, threads: int = THREADS, stuck: float = STUCK):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="replica")
        self._stuck, self._alive = stuck, time.monotonic()
        self._running, self._lock = 0, Lock()
        self.broken: str = ""

    async def stream(self, work: Callable[[Report, Event], None]) -> AsyncGenerator[Any]:
        """Yield `Begun`, and whatever `work(report, cancelled)` reports; a `UserError` as `Refused`.

        When the reader leaves, or Serve cancels the call, `cancelled` is set, and the work is not waited for.
        """
        loop, cancelled = asyncio.get_running_loop(), Event()
        reports: asyncio.Queue[Any] = asyncio.Queue()

        def report(item: Any) -> None:
            self._alive = time.monotonic()
            loop.call_soon_threadsafe(reports.put_nowait, item)

        def run() -> None:
            try:
                with self._watched():
                    work(report, cancelled)
            except UserError as problem:
                report(Refused(str(problem)))

        done = loop.run_in_executor(self._pool, run)
        done.add_done_callback(lambda _: reports.put_nowait(done))
        try:
            yield Begun()
            while (item := await reports.get()) is not done:
                yield item
            await done
        finally:
            cancelled.set()

    async def answer(self, work: Callable[[], Result]) -> Result | Refused:
        """Return what `work()` returns, or its `UserError` as `Refused`."""

        def run() -> Result | Refused:
            try:
                with self._watched():
                    return work()
            except UserError as problem:
                return Refused(str(problem))

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def check(self) -> None:
        """See whether work goes on; Serve asks now and then, and starts the replica anew where this raises.

        Raises:
            RuntimeError: the device has failed, or work has stood still for too long.
        """
        if self.broken:
            raise RuntimeError(self.broken)
        if self._running and (still := time.monotonic() - self._alive) > self._stuck:
            raise RuntimeError(f"work has given no sign of life for {still:.0f} s")

    @contextmanager
    def _watched(self) -> Iterator[None]:
        with self._lock:
            if not self._running:
                self._alive = time.monotonic()
            self._running += 1
        try:
            yield
        except UserError:
            raise
        except Exception as problem:
            if any(sign in str(problem).lower() for sign in DEAD_DEVICE):
                self.broken = str(problem)
            raise
        finally:
            with self._lock:
                self._running -= 1
            self._alive = time.monotonic()
