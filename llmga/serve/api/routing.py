"""Routers of the paths under /v1: keys, refusals, and JSON that is read beside the event loop."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response, Security
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from llmga.serve.api.auth import bearer
from llmga.serve.api.errors import ErrorResponse

REFUSALS = {
    400: "The request is wrong; the message says what and how to mend it.",
    401: "No valid API key.",
    403: "Without keys, a server of this machine alone does not answer under other names; or no administrator's key.",
    404: "No such model.",
    413: "The request, or a picture in it, is too large.",
    429: "The queue is full, or a quota of the key is used up; Retry-After says when to come again.",
    500: "A mistake of the server.",
    503: "The server is about to end.",
}
EVENT: dict[str, Any] = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
STREAM: dict[str, Any] = {"text/event-stream": {"itemSchema": EVENT}}
BASE64 = b";base64,"
BARE_BASE64 = re.compile(rb'"[A-Za-z0-9+/=]{1000,}"')  # as AUTOMATIC1111's clients send pictures


def v1_router(streams: bool = False, prefix: str = "/v1") -> APIRouter:
    """Return a router for paths under /v1 or another prefix, which `AuthMiddleware` guards.

    Args:
        streams: Its paths may answer as a stream of events.
    """
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorResponse, "description": text} for status, text in REFUSALS.items()
    }
    if streams:
        responses[200] = {"content": STREAM}
    return APIRouter(prefix=prefix, route_class=JsonRoute, dependencies=[Security(bearer)], responses=responses)


class JsonRequest(Request):
    """A request whose JSON is parsed in a thread, and is bounded beside the base64 of its pictures."""

    async def json(self) -> Any:
        """Return what the body says."""
        return await asyncio.to_thread(parse_json, await self.body(), self.app.state.service.limits.json)


class JsonRoute(APIRoute):
    """A route whose requests are `JsonRequest`s."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, which is then given a `JsonRequest`."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def parse_json(body: bytes, max_bytes: int) -> Any:
    """Return what a JSON text in UTF-8 says.

    Raises:
        HTTPException: 413 where it is too long beside its pictures; 400 where it is nested deeper than Python's parser
            follows (about a thousand levels), is not UTF-8, or has a number of thousands of digits.
        ValueError: It is no JSON.
    """
    if size_without_images(body) > max_bytes:
        raise HTTPException(413, f"the JSON has more than {max_bytes:,} bytes beside its pictures; send less at once")
    try:
        return json.loads(body.decode("utf-8-sig"))
    except RecursionError:
        raise HTTPException(400, "the JSON is nested too deeply; send a flat one") from None
    except UnicodeDecodeError as problem:
        raise HTTPException(400, f"byte {problem.start:,} of the body is not UTF-8; send the JSON as UTF-8") from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # of Python's own bound
        raise HTTPException(400, "a number in the JSON has thousands of digits; send a shorter one") from None


def size_without_images(body: bytes) -> int:
    """Return the bytes of a JSON text without the base64 of its pictures.

    A string of a thousand letters of base64 and nothing else is a picture, too: a parser builds one text of it.

    In JSON `;base64,` can stand in a string only, so that all until the next quote is text; nothing that a parser would
    build anything of is left out.  Pictures inside Markdown end at their bracket.
    """
    length, at = len(body), 0
    while (at := body.find(BASE64, at)) >= 0:
        at += len(BASE64)
        quote = body.find(b'"', at)
        quote = len(body) if quote < 0 else quote
        bracket = body.find(b")", at, quote)
        end = quote if bracket < 0 else bracket
        length -= end - at
        at = end
    return length - sum(found.end() - found.start() for found in BARE_BASE64.finditer(body))
