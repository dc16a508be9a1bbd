"""All requests together are bounded in bytes, too."""

import asyncio

import pytest
from starlette.exceptions import HTTPException

from llmga.serve.api.middleware import TOTAL_FACTOR, BodyLimitMiddleware

SCOPE = {"type": "http", "headers": []}


async def sent(message):
    pass


def test_what_many_send_at_once_is_refused_until_some_are_answered():
    async def talk():
        answered = asyncio.Event()

        async def app(scope, receive, send):
            await receive()
            await answered.wait()

        async def ten_bytes():
            return {"type": "http.request", "body": bytes(10)}

        limit = BodyLimitMiddleware(app, max_bytes=10)
        many = [asyncio.create_task(limit(SCOPE, ten_bytes, sent)) for _ in range(TOTAL_FACTOR)]
        await asyncio.sleep(0)
        assert limit.held == 10 * TOTAL_FACTOR
        with pytest.raises(HTTPException) as told:
            await limit(SCOPE, ten_bytes, sent)
        assert told.value.status_code == 503 and limit.held == 10 * TOTAL_FACTOR
        answered.set()
        await asyncio.gather(*many)
        await limit(SCOPE, ten_bytes, sent)
        assert limit.held == 0

    asyncio.run(talk())
