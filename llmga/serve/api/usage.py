"""What a request uses: quotas are charged before the work, and what came of it is counted and noted."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmga.serve.api.audit import AuditLog
from llmga.serve.api.auth import ADMIN, is_guarded
from llmga.serve.api.errors import ApiError
from llmga.serve.api.logs import request_id
from llmga.serve.api.metrics import Metrics
from llmga.serve.api.middleware import CLIENT_CLOSED_REQUEST
from llmga.serve.keys.limits import LIMITS, PICTURES, PIXELS, REQUESTS
from llmga.serve.keys.store import Exceeded, KeyStore, StoredKey

AT_ONCE = "at-once"


class Meter:
    """What one request uses.

    Args:
        store: Where it is charged; None charges nobody.
        key: Whose request it is.

    Attributes:
        model: The name of the model that answers, once that is known.
        pictures: Painted so far.
        pixels: Of these.
    """

    def __init__(self, metrics: Metrics, store: KeyStore | None = None, key: StoredKey | None = None):
        self.metrics, self._store, self._key = metrics, store, key
        self.model = ""
        self.pictures = self.pixels = 0
        self._since = time.time()
        self._charged = Counter[str]()
        self._settled = False

    def begin(self) -> None:
        """Charge for a request; blocking.

        Raises:
            ApiError: As `reserve`.
        """
        self._charge({REQUESTS: 1})

    def reserve(self, pictures: int, pixels: int) -> None:
        """Charge for what is about to be painted; what is not is given back by `settle`.  Blocking.

        Args:
            pixels: Of all pictures together.

        Raises:
            ApiError: 429 where a quota does not reach; 503 where that cannot be looked up.
        """
        amounts = {PICTURES: pictures, PIXELS: pixels}
        self._charge(amounts)
        self._charged.update(amounts)

    def count(self, width: int, height: int) -> None:
        """Take note of a picture."""
        self.pictures += 1
        self.pixels += width * height
        if self._settled:  # a protocol whose requests go on after their answer
            self.settle()

    def settle(self) -> None:
        """Make what was charged what was used; blocking."""
        self._settled = True
        used = Counter({PICTURES: self.pictures, PIXELS: self.pixels})
        more = {unit: used[unit] - self._charged[unit] for unit in used | self._charged}
        self._charged = used
        if self._store is not None and self._key is not None and any(more.values()):
            self._store.correct(self._key, more, self._since)

    def _charge(self, amounts: dict[str, int]) -> None:
        if self._store is None or self._key is None:
            return
        try:
            self._store.charge(self._key, amounts, self._since)
        except Exceeded as problem:
            self.metrics.refused.labels(problem.limit).inc()
            raise over_quota(problem) from None
        except sqlite3.Error:
            raise ApiError(503, "quotas cannot be looked up just now; try again in a moment.", code="busy",
                           retry_after=5) from None  # fmt: skip


# What else there is than to wait.
REMEDIES = {
    "pictures-a-day": 'ask for fewer, or in a chat for words alone ("paint": false); ',
    "pixels-a-day": 'ask for fewer or smaller ones, or in a chat for words alone ("paint": false); ',
}


METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


def current() -> Meter | None:
    """What the request at hand uses; None outside of any."""
    return METER.get()


@contextmanager
def measured_by(meter: Meter | None) -> Iterator[None]:
    """What is used meanwhile is the meter's."""
    token = METER.set(meter)
    try:
        yield
    finally:
        METER.reset(token)


def over_quota(problem: Exceeded) -> ApiError:
    """The refusal of what a key may not use any more, as OpenAI has it; clients need not try it again at once."""
    period = "minute" if LIMITS[problem.limit].seconds == 60 else "day"
    left = max(0, problem.most - problem.used)
    refusal = ApiError(
        429,
        f"{problem.limit} of this key: {left:,} of {problem.most:,} are left, and this takes {problem.asked:,}; "
        f"{REMEDIES.get(problem.limit, '')}the next {period} begins in {problem.seconds:,} s.",
        code="insufficient_quota",
        retry_after=problem.seconds,
    )
    refusal.headers["x-should-retry"] = "false"  # which OpenAI's own clients obey
    return refusal


class UsageMiddleware:
    """ASGI middleware that measures every request under a key, and refuses those over its quotas.

    It stands behind `AuthMiddleware`, before anything of a request is read.  Asking costs nothing: what is sent by POST
    is charged, but for the paths of administrators.

    Args:
        store: Of keys with quotas, if there are any.
        audit: Where it is noted who used what, if anywhere.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, store: KeyStore | None = None, audit: AuditLog | None = None):
        self.app, self.metrics, self.store, self.audit = app, metrics, store, audit
        self._at_once = Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_guarded(scope["path"]):
            await self.app(scope, receive, send)
            return
        state = HTTPConnection(scope).state
        key: StoredKey | None = getattr(state, "key", None)
        state.meter = meter = Meter(self.metrics, self.store, key)
        began, status = time.perf_counter(), CLIENT_CLOSED_REQUEST

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with measured_by(meter):
                await self._answer(key, meter, scope, receive, send_seen)
        finally:
            self._note(scope, meter, status, time.perf_counter() - began)

    async def _answer(self, key: StoredKey | None, meter: Meter, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse; what was charged for and not used is given back before the answer ends.

        Whoever has read an answer may ask again at once, and finds place and quota free.
        """
        if key is None or scope["method"] != "POST" or scope["path"].startswith(ADMIN):
            await self.app(scope, receive, send)
            return
        try:
            with self._place(key) as leave:
                await asyncio.to_thread(meter.begin)

                async def send_settled(message: Message) -> None:
                    if message["type"] == "http.response.body" and not message.get("more_body", False):
                        await asyncio.to_thread(_settled, meter)
                        leave()
                    await send(message)

                try:
                    await self.app(scope, receive, send_settled)
                finally:
                    await asyncio.to_thread(_settled, meter)
        except ApiError as refusal:  # of ours: those of the app it answers itself
            await refusal.response()(scope, receive, send)

    @contextmanager
    def _place(self, key: StoredKey) -> Iterator[Callable[[], None]]:
        """One of those that the key may have at once; what is given leaves it before the end.

        Raises:
            ApiError: 429 where there is none.
        """
        most = key.limits.get(AT_ONCE)
        if most is not None and self._at_once[key.id] >= most:
            self.metrics.refused.labels(AT_ONCE).inc()
            raise ApiError(429, f"this key has {most:,} requests at work, the most it may; try again when one is "
                           "answered.", code="rate_limit_exceeded", retry_after=1)  # fmt: skip
        self._at_once[key.id] += 1
        with ExitStack() as held:
            held.callback(self._left, key)
            yield held.close

    def _left(self, key: StoredKey) -> None:
        self._at_once[key.id] -= 1
        if not self._at_once[key.id]:
            del self._at_once[key.id]

    def _note(self, scope: Scope, meter: Meter, status: int, seconds: float) -> None:
        if self.audit is None:
            return
        self.audit.write(
            request=request_id.get(),
            client=scope["state"].get("client"),
            method=scope["method"],
            route=getattr(scope.get("route"), "path", "other"),
            model=meter.model or None,
            pictures=meter.pictures,
            pixels=meter.pixels,
            status=status,
            seconds=round(seconds, 3),
        )


def _settled(meter: Meter) -> None:
    """Settle; a file that cannot be written must not turn an answer into a failure, and errs against the key."""
    try:
        meter.settle()
    except sqlite3.Error:
        meter.metrics.unsettled.inc()
