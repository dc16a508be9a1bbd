"""The way into a cluster: what Serve's HTTP proxy does before and after the application.

Serve calls `guard` in each of its proxies where the environment says so
(`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=llmga.serve.cluster.door:guard`).
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from llmga.serve.api import logs
from llmga.serve.api.connections import ConnectionLimiter, protocol
from llmga.serve.api.errors import ApiError
from llmga.serve.cluster.calls import unavailable

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
PLACE = "llmga.serve.cluster.door:guard"
VARIABLE = "LLMGA_DOOR"  # of the environment: JSON with the limits below that are to be others
USUAL = {"max_connections": 1024, "max_connections_each": 128, "max_request": 64_000_000}
ID = b"x-request-id"
SESSION, NAME = "x-session-id", re.compile(r"[\w.-]{1,64}", re.ASCII)  # as Serve reads it; what clients may call one
OWN = "/-/"  # paths of Serve itself, such as /-/healthz
STARTING = ApiError(503, "the server is just being started; try again in a moment.", code="starting", retry_after=10)


def guard() -> list[Middleware]:
    """Give the proxy's connections their deadlines and bounds; return what its requests pass.

    Raises:
        ValueError: the environment names a limit that there is not.
    """
    logs.configure()
    limits = limits_of(os.environ.get(VARIABLE, "{}"))
    limiter = ConnectionLimiter(limits["max_connections"], limits["max_connections_each"])
    HTTP_PROTOCOLS["auto"] = protocol(limiter)  # type: ignore[assignment]  # uvicorn takes classes, too
    return [Middleware(DoorMiddleware, max_bytes=limits["max_request"])]


def limits_of(text: str) -> dict[str, int]:
    """Return the usual limits with those of a JSON object.

    Raises:
        ValueError: there is no such limit.
    """
    given: dict[str, Any] = json.loads(text)
    if unknown := set(given) - set(USUAL):
        raise ValueError(f"{VARIABLE} has no limit {min(unknown)!r}; it has {', '.join(USUAL)}")
    return USUAL | given


class DoorMiddleware:
    """ASGI middleware of the proxy: whatever it answers itself becomes a refusal of the usual form.

    Answers of the application have an `X-Request-ID`.  Where its replica is lost, Serve sends nothing, a status of its
    own, or breaks a stream off; clients get 503 with `Retry-After`, or an event of the stream that says so.

    Args:
        max_bytes: of a request that tells its length; the application counts the others.
    """

    def __init__(self, app: ASGIApp, max_bytes: int):
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OWN):
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isascii() and length.isdecimal() and int(length[:20]) > self.max_bytes:
            message = f"the request has more than {self.max_bytes:,} bytes; send less at once."
            await ApiError(413, message).response()(scope, receive, send)
            return
        with_session(scope)
        answer = Answer(send)
        try:
            await self.app(scope, receive, answer)
        finally:
            await answer.finish(scope, receive)


def with_session(scope: Scope) -> None:
    """Name the session of a request where it names none: who asks, so that all that it asks comes to one application.

    There its stored responses, its jobs and its sessions of the Model Context Protocol are.
    """
    headers = MutableHeaders(scope=scope)
    if not NAME.fullmatch(headers.get(SESSION, "")):
        who = headers.get("authorization") or (scope.get("client") or ("",))[0]
        headers[SESSION] = hashlib.sha256(who.encode()).hexdigest()[:32]


def without_second_id(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers with the application's `X-Request-ID` alone; Serve's proxy adds one at the end."""
    ids = [value for name, value in headers if name.lower() == ID]
    return [*(pair for pair in headers if pair[0].lower() != ID), (ID, ids[0])]


class Answer:
    """What goes to one client; a `Send`."""

    def __init__(self, send: Send):
        self._send = send
        self._begun = self._ended = self._streams = False
        self._refusal = unavailable()

    async def __call__(self, message: Message) -> None:
        """Pass on what is the application's."""
        if message["type"] == "http.response.start":
            headers = Headers(raw=message.get("headers", []))
            if "x-request-id" not in headers or "x-content-type-options" not in headers:
                self._refusal = STARTING if message["status"] == 404 else self._refusal
                return
            message = {**message, "headers": without_second_id(headers.raw)}
            self._begun, self._streams = True, headers.get("content-type", "").startswith("text/event-stream")
        elif not self._begun:
            return
        elif not message.get("more_body", False):
            self._ended = True
        await self._send(message)

    async def finish(self, scope: Scope, receive: Receive) -> None:
        """Say what has become of an answer that was not ended."""
        if self._begun and self._ended:
            return
        logs.log_event("answer lost", logging.WARNING, begun=self._begun)
        if not self._begun:
            await self._refusal.response()(scope, receive, self._send)
        elif self._streams:
            event = f"data: {json.dumps(self._refusal.body())}\n\n".encode()
            await self._send({"type": "http.response.body", "body": event, "more_body": False})
