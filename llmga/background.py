"""Work that reports by callback, seen as an iterator."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

Report = TypeVar("Report")
Result = TypeVar("Result")
Reporter = Callable[[Report], None]
Work = Callable[[Reporter[Report]], Result]

POLL = 0.05  # seconds between two looks at `cancelled` while nothing is reported
_DONE = object()


def reports_of(
    work: Work[Report, Result], stop: Callable[[], None], cancelled: Callable[[], bool] | None = None
) -> Generator[Report, None, Result | None]:
    """Run `work(report)` in a thread, yield each report while it goes on, return what it returns.

    What `work` raises is raised here, after its last report.  When the reader leaves early, `stop` is called and the
    thread is waited for, so that no work outlives its reader.

    Args:
        cancelled: asked before every report and while none comes; once true, `stop` is called, no report is given any
            more, and whatever the work then returns or raises is None.
    """
    reports: SimpleQueue[Any] = SimpleQueue()
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(work, reports.put)
        future.add_done_callback(lambda _: reports.put(_DONE))
        try:
            yield from iter(reports.get, _DONE) if cancelled is None else _until(cancelled, reports)
        except BaseException:
            stop()
            raise
        if cancelled is not None and cancelled():
            stop()
            return None
        return future.result()


def _until(cancelled: Callable[[], bool], reports: SimpleQueue[Any]) -> Iterator[Report]:
    while not cancelled():
        with suppress(Empty):
            report = reports.get(timeout=POLL)
            if report is _DONE:
                return
            yield report


def awaited(work: Work[Report, Awaitable[Result]]) -> tuple[Work[Report, Result], Callable[[], None]]:
    """An asynchronous `work` as the pair that `reports_of` takes: the work in a loop of its own, and its stop.

    The stop cancels it wherever it waits, be it for a connection that is never answered.
    """
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = Future()

    async def announced(report: Reporter[Report]) -> Result:
        running.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await work(report)

    def stop() -> None:
        loop, task = running.result()
        if task is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(task.cancel)

    return lambda report: asyncio.run(announced(report)), stop
