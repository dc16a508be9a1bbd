"""Every request has an id, is logged once, and is counted."""

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmga.serve.api.errors import defect
from llmga.serve.api.logs import request_id, tell
from llmga.serve.api.metrics import Metrics
from llmga.serve.api.scheduler import ClientLeft

ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
LEFT = 499  # nginx' number for a client that did not wait


class Observed:
    """Around the whole application: nothing escapes it."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if ID.fullmatch(given) else f"req-{secrets.token_hex(10)}"
        token = request_id.set(identity)
        began, seen = time.perf_counter(), {"status": 0}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                MutableHeaders(scope=message).update({"X-Request-ID": identity, "X-Content-Type-Options": "nosniff"})
            await send(message)

        left = False
        try:
            await self.app(scope, receive, sending)
        except ClientLeft:
            left = True
            self.metrics.left.inc()
        except Exception:
            tell("defect", logging.ERROR, exc_info=True)
            if not seen["status"]:
                await defect(identity).response()(scope, receive, sending)
        finally:
            self._note(scope, LEFT if left else seen["status"], time.perf_counter() - began)
            request_id.reset(token)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """The route, not the path: what strangers type makes no series of figures, and nothing of theirs is logged."""
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(scope["method"] if route != "other" else "any", route, status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        client = getattr(Request(scope).state, "client", None)
        tell("answered", method=scope["method"], route=route, status=status, ms=round(1000 * seconds), client=client)
