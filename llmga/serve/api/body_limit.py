"""Requests are bounded in bytes, whether they say how long they are or not."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmga.serve.api.errors import ApiError

TOGETHER = 16  # times the most that one request has, of all that are being read or answered: they lie in memory


class BodyLimit:
    """Refuses a request as soon as it is known to be longer than `most` bytes, or all together than `TOGETHER` times
    that; what follows is not read.

    FastAPI has such a limit, too, but answers in a shape of its own.

    Attributes:
        held: bytes of all requests that are not answered yet.
    """

    def __init__(self, app: ASGIApp, most: int):
        self.app, self.most, self.held = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "0")
        if told.isascii() and told.isdecimal() and int(told[:20]) > self.most:
            await ApiError(413, self._refusal).response()(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            came = len(message.get("body", b""))
            read += came
            self.held += came
            if read > self.most:
                raise HTTPException(413, self._refusal)
            if self.held > TOGETHER * self.most:
                raise HTTPException(503, "too much is being sent at once; try again in a moment", {"Retry-After": "5"})
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self.held -= read

    @property
    def _refusal(self) -> str:
        return f"the request has more than {self.most:,} bytes; send less at once."
