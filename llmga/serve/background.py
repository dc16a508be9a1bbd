"""Work that reports by callback, seen as an iterator."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Report = TypeVar("Report")
Result = TypeVar("Result")

_DONE = object()


def reports_of(
    work: Callable[[Callable[[Report], None]], Result], stop: Callable[[], None]
) -> Generator[Report, None, Result]:
    """Run `work(report)` in a thread, yield each report while it goes on, return what it returns.

    What `work` raises is raised here, after its last report.  When the reader leaves early, `stop` is called and the
    thread is waited for, so that no work outlives its reader.
    """
    reports: SimpleQueue = SimpleQueue()
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(work, reports.put)
        future.add_done_callback(lambda _: reports.put(_DONE))
        try:
            yield from iter(reports.get, _DONE)
        except BaseException:
            stop()
            raise
        return future.result()
