"""What every request passes: it gets an id, a line in the log and a place in the figures, and is not too long."""

import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmga.serve.api.errors import ApiError, internal_error
from llmga.serve.api.logs import log_event, request_id
from llmga.serve.api.metrics import Metrics
from llmga.serve.api.tracing import Tracing

ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
CLIENT_CLOSED_REQUEST = 499  # nginx' number for a client that did not wait
TOTAL_FACTOR = 16  # times the most that one request has, of all that are being read or answered: they lie in memory


class RequestLogMiddleware:
    """ASGI middleware that gives every request an id, a span and a line in the log, and counts it.

    No exception escapes it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing):
        self.app = app
        self.metrics = metrics
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with self.tracing.request(Headers(scope=scope)) as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: Any) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if ID.fullmatch(given) else f"req-{secrets.token_hex(10)}"
        token = request_id.set(identity)
        began, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({"X-Request-ID": identity, "X-Content-Type-Options": "nosniff"})
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
            self.metrics.disconnects.inc()
        except Exception:
            log_event("defect", logging.ERROR, exc_info=True)
            if not status:
                await internal_error(identity).response()(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - began, span)
            request_id.reset(token)

    def _record(self, scope: Scope, status: int, seconds: float, span: Any) -> None:
        """The route, not the path: what strangers type makes no series of figures, and nothing of theirs is logged."""
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(scope["method"] if route != "other" else "any", route, status).inc()
        state = scope.get("state", {})
        client, meter = state.get("client"), state.get("meter")
        self.metrics.seconds.labels(route, meter.model if meter else "").observe(seconds)
        if span is not None:
            span.update_name(f"{scope['method']} {route}")
            told = {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status}
            span.set_attributes({**told, "llmga.request_id": request_id.get() or ""})
        log_event(
            "answered", method=scope["method"], route=route, status=status, ms=round(1000 * seconds), client=client
        )


class BodyLimitMiddleware:
    """ASGI middleware that refuses a request as soon as it is known to be too long; what follows is not read.

    FastAPI and Starlette have such a limit for one request, too, but answer in a shape of their own.

    Args:
        max_bytes: Of one request; all that are not answered yet may have `TOTAL_FACTOR` times as many together.

    Attributes:
        held: Bytes of all requests that are not answered yet.
    """

    def __init__(self, app: ASGIApp, max_bytes: int):
        self.app = app
        self.max_bytes = max_bytes
        self.held: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isascii() and declared.isdecimal() and int(declared[:20]) > self.max_bytes:
            await ApiError(413, self._refusal).response()(scope, receive, send)
            return
        read = 0

        async def receive_counted() -> Message:
            nonlocal read
            message = await receive()
            length = len(message.get("body", b""))
            read += length
            self.held += length
            if read > self.max_bytes:
                raise HTTPException(413, self._refusal)
            if self.held > TOTAL_FACTOR * self.max_bytes:
                raise HTTPException(503, "too much is being sent at once; try again in a moment", {"Retry-After": "5"})
            return message

        try:
            await self.app(scope, receive_counted, send)
        finally:
            self.held -= read

    @property
    def _refusal(self) -> str:
        return f"the request has more than {self.max_bytes:,} bytes; send less at once."
