"""A deployment's handle whose replica is in this process; what goes through it is pickled, as on Ray."""

import asyncio
import pickle
import queue
import threading
from copy import copy
from functools import cache
from typing import Any

END = object()


@cache
def loop() -> asyncio.AbstractEventLoop:
    """On which all replicas are called."""
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, daemon=True).start()
    return made


class InProcess:
    """A handle, as far as the server uses one.

    Attributes:
        replica: what is called.  `sessions`: under which sessions it was.
    """

    def __init__(self, replica: Any):
        self.replica, self.sessions = replica, []
        self._stream, self._session = False, None

    def options(self, *, stream: bool = False, session_id: str | None = None) -> "InProcess":
        other = copy(self)
        other._stream, other._session = stream, session_id or self._session
        return other

    def __getattr__(self, name: str) -> "Method":
        if name.startswith("__"):
            raise AttributeError(name)
        return Method(self, name)


class Method:
    def __init__(self, handle: InProcess, name: str):
        self.handle, self.name = handle, name

    def remote(self, *args: Any, **options: Any) -> "Response":
        self.handle.sessions.append(self.handle._session)
        args, options = pickle.loads(pickle.dumps((args, options)))
        called = getattr(self.handle.replica, self.name)(*args, **options)
        return Response(called, self.handle._stream)


class Response:
    def __init__(self, called: Any, stream: bool):
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._future = asyncio.run_coroutine_threadsafe(self._read(called) if stream else called, loop())
        if stream:
            self._future.add_done_callback(lambda _: self._items.put(END))

    async def _read(self, called: Any) -> None:
        async for item in called:
            self._items.put(pickle.dumps(item))

    def __iter__(self) -> Any:
        while (item := self._items.get()) is not END:
            yield pickle.loads(item)
        self._future.result()

    def __await__(self) -> Any:
        return asyncio.wrap_future(self._future).__await__()

    def result(self, timeout_s: float | None = None) -> Any:
        return pickle.loads(pickle.dumps(self._future.result(timeout_s)))

    def cancel(self) -> None:
        self._future.cancel()
