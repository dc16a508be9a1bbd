"""JSON is read beside the event loop, and is small apart from its pictures."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

BASE64 = b";base64,"


def json_route(most: int) -> type[APIRoute]:
    """Routes whose JSON has at most so many bytes beside the base64 of its pictures."""

    class JsonRequest(Request):
        async def json(self) -> Any:
            return await asyncio.to_thread(parsed, await self.body(), most)

    class JsonRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            usual = super().get_route_handler()

            async def handle(request: Request) -> Response:
                return await usual(JsonRequest(request.scope, request.receive))

            return handle

    return JsonRoute


def parsed(body: bytes, most: int) -> Any:
    """What a JSON text in UTF-8 says.

    Raises: HTTPException 413 where it is too long beside its pictures, 400 where it is nested deeper than Python's
        parser follows (about a thousand levels); ValueError where it is no JSON.
    """
    if beside_pictures(body) > most:
        raise HTTPException(413, f"the JSON has more than {most:,} bytes beside its pictures; send less at once")
    try:
        return json.loads(body.decode("utf-8-sig"))
    except RecursionError:
        raise HTTPException(400, "the JSON is nested too deeply; send a flat one") from None


def beside_pictures(body: bytes) -> int:
    """Bytes of a JSON text without the base64 of its pictures.

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
    return length
