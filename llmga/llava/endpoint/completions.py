"""POST /chat/completions and its answer, streamed or whole."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from llmga.errors import UserError
from llmga.llava.endpoint.address import Endpoint, connection_errors
from llmga.llava.endpoint.refusals import Refusal, server_message

TRIES = 4  # when the server is busy
LONGEST_WAIT = 60.0  # seconds between two tries; a server that asks for more is told to the person
LOADS_IN = 2.0  # seconds between two looks whether a model is loaded
LARGEST_ANSWER = 4_000_000  # characters of an answer in one piece, or of one line of a stream
CUT = "length"  # the reason of an end that is none
_BUSY = (429, 503)
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # what servers call the thoughts that they keep apart
_STREAM_FIELDS = ("data:", "event:", "id:", "retry:", ":")

Result = TypeVar("Result")
Take = Callable[[str], bool]


async def complete(endpoint: Endpoint, request: dict[str, Any], take: Take) -> bool:
    """Give each piece of the answer to `take`, until it says that it has enough; whether the answer was cut by a limit.

    Raises:
        Refusal: before the first piece, see `retried`.
        UserError: when the connection or the answer breaks.
    """
    return await retried(lambda: _once(endpoint, request, take), endpoint.timeout)


async def retried(ask: Callable[[], Awaitable[Result]], loading: float = 0.0) -> Result:
    """Ask a server; a busy one is asked again, after the time that it names or after 1, 2, 4 seconds.

    Args:
        loading: for so many seconds, one that is loading its model is asked again, too.

    Raises:
        Refusal: it refuses, is still busy, or names a time above `LONGEST_WAIT`.
    """
    clock, tried = asyncio.get_running_loop().time, 0
    begun = clock()
    while True:
        try:
            return await ask()
        except Refusal as refusal:
            wait = 2.0**tried if refusal.retry_after is None else refusal.retry_after
            if loading and refusal.is_loading:
                wait = LOADS_IN
                if clock() - begun >= loading:
                    raise
            else:
                tried += 1
                if refusal.status not in _BUSY or wait > LONGEST_WAIT or tried == TRIES:
                    raise
        await asyncio.sleep(wait)


async def _once(endpoint: Endpoint, request: dict[str, Any], take: Take) -> bool:
    with connection_errors(endpoint):
        async with httpx.AsyncClient(**endpoint.client_settings()) as client, asyncio.timeout(None) as patience:
            _hope(patience, endpoint.connect_timeout + endpoint.timeout)
            async with client.stream("POST", endpoint.path("chat/completions"), json=request) as response:
                lines = _lines(response, endpoint)
                if response.status_code != 200:
                    raise Refusal.of(response, await _rest(lines, endpoint), endpoint)

                def awaited(piece: str) -> bool:
                    _hope(patience, endpoint.timeout)
                    return take(piece)

                return await _answer(lines, endpoint, awaited)


def _hope(patience: asyncio.Timeout, seconds: float) -> None:
    """Give up in so many seconds; a server that sends anything but words counts as silent."""
    patience.reschedule(asyncio.get_running_loop().time() + seconds)


async def _lines(response: httpx.Response, endpoint: Endpoint) -> AsyncIterator[str]:
    """Lines with their ends.  Only \\n ends one: JSON may hold what else passes for an end."""
    rest = ""
    async for text in response.aiter_text():
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            yield line + "\n"
        if len(rest) > LARGEST_ANSWER:
            raise _endless(endpoint)
    if rest:
        yield rest


async def _rest(lines: AsyncIterator[str], endpoint: Endpoint) -> str:
    body = ""
    async for line in lines:
        body += line
        if len(body) > LARGEST_ANSWER:
            raise _endless(endpoint)
    return body


def _endless(endpoint: Endpoint) -> UserError:
    return UserError(f"{endpoint.shown} sends an answer without end; check that it is a chat server.")


async def _chained(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for line in rest:
        yield line


async def _answer(lines: AsyncIterator[str], endpoint: Endpoint, take: Take) -> bool:
    """A stream of events, or one JSON object from a server that does not stream; its words tell which."""
    async for line in lines:
        if line.startswith(_STREAM_FIELDS):
            return await _events(_chained(line, lines), endpoint, take)
        if line.strip():
            piece = _piece(_parsed(await _rest(_chained(line, lines), endpoint), endpoint), endpoint)
            return not take(piece.text) or _is_cut(piece, endpoint)
    raise UserError(f"{endpoint.shown} sent an empty answer; check that it is a chat server.")


async def _events(lines: AsyncIterator[str], endpoint: Endpoint, take: Take) -> bool:
    seen, done = _Piece(), False
    async for line in lines:
        field, _, value = line.partition(":")
        value = value.strip()
        if done := field == "data" and value == "[DONE]":
            break
        if field not in ("data", "error") or not value:
            continue
        if not line.endswith("\n") and not value.endswith("}"):
            break  # the connection was cut within a line
        piece = _piece(_parsed(value, endpoint), endpoint)
        seen = seen.then(piece)
        if (piece.text or piece.thinks) and not take(piece.text):  # who thinks is not silent
            return True
    if not (seen.finish or done):
        raise UserError(f"{endpoint.shown} broke off its answer before the end; look at its log and ask again.")
    return _is_cut(seen, endpoint)


def _is_cut(seen: "_Piece", endpoint: Endpoint) -> bool:
    """Raises: UserError for an answer that is nothing but a thought, which its limit cut."""
    if seen.finish == CUT and seen.thinks and not seen.text:
        raise UserError(
            f"{endpoint.shown} thought until its answer was as long as it may be, and said nothing; raise "
            "--max-new-tokens, or have it think less (llama-server --reasoning-budget 0)."
        )
    return seen.finish == CUT


def _parsed(text: str, endpoint: Endpoint) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(
            f"{endpoint.shown} sent what is no answer of a chat ({server_message(text, endpoint)!r}); "
            "give the base of its OpenAI interface, mostly ending in /v1."
        )
    return content


@dataclass(frozen=True)
class _Piece:
    """One event, or a whole answer.

    Attributes:
        text: its words.
        thinks: it holds a thought.
        finish: what ended the answer, if this did.
    """

    text: str = ""
    thinks: bool = False
    finish: str | None = None

    def then(self, later: "_Piece") -> "_Piece":
        """Both, of each thing what came first."""
        return _Piece(self.text or later.text, self.thinks or later.thinks, self.finish or later.finish)


def _piece(content: dict[str, Any], endpoint: Endpoint) -> _Piece:
    try:
        choice: dict[str, Any] = next(iter(content["choices"] or ()), {})
        said = choice.get("delta") or choice.get("message") or {}
        return _Piece(
            _text(said.get("content")), any(said.get(name) for name in _THOUGHTS), choice.get("finish_reason")
        )
    except (KeyError, TypeError, AttributeError):
        told = server_message(json.dumps(content), endpoint)
        raise UserError(f"{endpoint.shown} failed ({told}); look at its log and ask again.") from None


def _text(content: object) -> str:
    """Some servers send a list of parts."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
