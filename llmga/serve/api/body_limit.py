"""Requests are bounded in bytes, whether they say how long they are or not."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmga.serve.api.errors import ApiError


class BodyLimit:
    """Refuses a request as soon as it is known to be longer than `most` bytes; what follows is not read.

    FastAPI has such a limit, too, but answers in a shape of its own.
    """

    def __init__(self, app: ASGIApp, most: int):
        self.app, self.most = app, most

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
            read += len(message.get("body", b""))
            if read > self.most:
                raise HTTPException(413, self._refusal)
            return message

        await self.app(scope, counted, send)

    @property
    def _refusal(self) -> str:
        return f"the request has more than {self.most:,} bytes; send less at once."
