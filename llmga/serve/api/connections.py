"""Connections before anything is understood of what comes through them: few enough, and in time.

uvicorn waits for headers and bodies for as long as they drip; here each has a deadline, as behind a reverse proxy.
"""

import json
import logging
from asyncio import BaseTransport, TimerHandle, Transport
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from llmga.serve.api.errors import ApiError
from llmga.serve.api.logs import tell

HEADERS = 20.0  # seconds from a connection, or the answer before, to the end of the headers
BODY = 30.0  # seconds from the headers to the end of the body …
UNREAD = 60.0  # seconds that an answer may wait for being read …
SLOWEST = 32_768  # … and one more for each so many bytes that came, or were read
UNREADABLE = ApiError(400, "this is no HTTP request that could be read; send another.", code="invalid_http")
LATE = ApiError(408, "the request did not come in time; send it again.", code="request_timeout")


@dataclass
class Gate:
    """How many connections there are, in all and of each address.

    Attributes:
        most, each: may be there.
    """

    most: int
    each: int
    of: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str) -> ApiError | None:
        """Take one more in, or say why not."""
        if self.of.total() >= self.most:
            return ApiError(503, f"all {self.most} connections are taken; come again.", code="connections_full",
                            retry_after=5)  # fmt: skip
        if self.of[address] >= self.each:
            return ApiError(429, f"your address has {self.each} connections already; close some.",
                            code="connections_full", retry_after=5)  # fmt: skip
        self.of[address] += 1
        return None

    def leave(self, address: str) -> None:
        """One has ended."""
        self.of[address] -= 1
        if not self.of[address]:
            del self.of[address]


def protocol(gate: Gate) -> Callable[..., "Guarded"]:
    """What uvicorn makes of each connection."""
    return partial(Guarded, gate)


class Guarded(H11Protocol):
    """One connection, with a deadline for whatever its client has to do next."""

    def __init__(self, gate: Gate, **options: Any):
        super().__init__(**options)
        self.gate, self._inside = gate, False
        self._phase: str | None = None
        self._until = 0.0
        self._watch: TimerHandle | None = None
        self._unread: TimerHandle | None = None
        self._paused, self._waiting = 0.0, 0  # since when and with how many bytes an answer waits for being read

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        if (refusal := self.gate.enter(self._address)) is None:
            self._inside = True
            self._look()
        else:
            tell("connection refused", logging.WARNING, status=refusal.status)
            self._answer(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._watch, self._unread):
            if timer is not None:
                timer.cancel()
        if self._inside:
            self._inside = False
            self.gate.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._look() == "body":
            self._until += len(data) / SLOWEST

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused, self._waiting = self.loop.time(), self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(UNREAD, self._still_unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def send_400_response(self, msg: str) -> None:
        """For what is no HTTP; uvicorn's own fails where an answer was begun already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(UNREADABLE)
        else:
            self.transport.close()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else "unknown"

    def _look(self) -> str | None:
        """What is waited for now, headers, body or nothing; with something new a new deadline begins."""
        states = {h11.IDLE: "headers", h11.SEND_BODY: "body"}
        phase = None if self.transport.is_closing() else states.get(self.conn.their_state)
        if phase != self._phase:
            self._phase = phase
            self._until = self.loop.time() + (HEADERS if phase == "headers" else BODY)
            self._wait()
        return phase

    def _wait(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = None if self._phase is None else self.loop.call_at(self._until, self._over)

    def _over(self) -> None:
        if self.loop.time() < self._until:  # some of it came
            self._wait()
            return
        tell("too slow", logging.WARNING, waited_for=self._phase)
        if self._phase == "headers":  # to nothing that was asked there is no answer, as with nginx
            self.transport.close()
        elif self.conn.our_state is h11.SEND_RESPONSE:
            self._answer(LATE)
        else:
            self.transport.abort()

    def _still_unread(self) -> None:
        read = self._waiting - self.transport.get_write_buffer_size()
        until = self._paused + UNREAD + read / SLOWEST
        if self.loop.time() < until:
            self._unread = self.loop.call_at(until, self._still_unread)
            return
        tell("too slow", logging.WARNING, waited_for="reading")
        self.transport.abort()

    def _answer(self, refusal: ApiError) -> None:
        """The last words of this connection."""
        body = json.dumps(refusal.body()).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        events = (
            h11.Response(status_code=refusal.status, headers=list((headers | refusal.headers).items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        transport: Transport = self.transport
        transport.write(b"".join(self.conn.send(event) for event in events))
        transport.close()
