"""Connections before anything is understood of what comes through them: few enough, and in time.

uvicorn waits for headers and bodies for as long as they drip; here each has a deadline, as behind a reverse proxy.
"""

import json
import logging
from asyncio import TimerHandle, Transport
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from llmga.serve.api.errors import ApiError
from llmga.serve.api.logs import log_event

HEADERS_TIMEOUT = 20.0  # seconds from a connection, or the answer before, to the end of the headers
BODY_TIMEOUT = 30.0  # seconds from the headers to the end of the body …
READ_TIMEOUT = 60.0  # seconds that an answer may wait for being read …
MIN_RATE = 32_768  # … and one more for each so many bytes that came, or were read
UNREADABLE = ApiError(400, "this is no HTTP request that could be read; send another.", code="invalid_http")
LATE = ApiError(408, "the request did not come in time; send it again.", code="request_timeout")


@dataclass
class ConnectionLimiter:
    """Counts connections, and refuses those beyond a bound.

    uvicorn's own `limit_concurrency` knows no addresses, and answers in a form of its own.

    Attributes:
        max_total: Connections at once.
        max_per_address: Connections at once of one address.
        counts: Connections that there are, by their addresses.
    """

    max_total: int
    max_per_address: int
    counts: Counter[str] = field(default_factory=Counter)

    def acquire(self, address: str) -> ApiError | None:
        """Count one more connection; return the refusal where there are too many."""
        if self.counts.total() >= self.max_total:
            return ApiError(503, f"all {self.max_total} connections are taken; come again.", code="connections_full",
                            retry_after=5)  # fmt: skip
        if self.counts[address] >= self.max_per_address:
            return ApiError(429, f"your address has {self.max_per_address} connections already; close some.",
                            code="connections_full", retry_after=5)  # fmt: skip
        self.counts[address] += 1
        return None

    def release(self, address: str) -> None:
        """Count one connection less."""
        self.counts[address] -= 1
        if not self.counts[address]:
            del self.counts[address]


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol of one connection, with a deadline for whatever its client has to do next."""

    limiter: ConnectionLimiter

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._counted = False
        self._phase: str | None = None
        self._deadline = 0.0
        self._watch: TimerHandle | None = None
        self._unread: TimerHandle | None = None
        self._paused, self._unread_bytes = 0.0, 0  # since when and with how many bytes an answer waits for being read

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Refuse the connection where there are too many, else wait for its headers."""
        super().connection_made(transport)
        if (refusal := self.limiter.acquire(self._address)) is None:
            self._counted = True
            self._watch_phase()
        else:
            log_event("connection refused", logging.WARNING, status=refusal.status)
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more, and count one connection less."""
        for timer in (self._watch, self._unread):
            if timer is not None:
                timer.cancel()
        if self._counted:
            self._counted = False
            self.limiter.release(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give a body that comes fast enough more time."""
        super().data_received(data)
        if self._watch_phase() == "body":
            self._deadline += len(data) / MIN_RATE

    def on_response_complete(self) -> None:
        """Wait for the next headers."""
        super().on_response_complete()
        self._watch_phase()

    def pause_writing(self) -> None:
        """Wait for the client to read, for so long as `READ_TIMEOUT` and `MIN_RATE` allow."""
        super().pause_writing()
        self._paused, self._unread_bytes = self.loop.time(), self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(READ_TIMEOUT, self._unread_too_long)

    def resume_writing(self) -> None:
        """The client has read; wait for that no longer."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; uvicorn's own fails where an answer was begun already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(UNREADABLE)
        else:
            self.transport.close()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else "unknown"

    def _watch_phase(self) -> str | None:
        """Return what is waited for now, headers, body or nothing; with a new phase a new deadline begins."""
        states = {h11.IDLE: "headers", h11.SEND_BODY: "body"}
        phase = None if self.transport.is_closing() else states.get(self.conn.their_state)
        if phase != self._phase:
            self._phase = phase
            self._deadline = self.loop.time() + (HEADERS_TIMEOUT if phase == "headers" else BODY_TIMEOUT)
            self._set_timer()
        return phase

    def _set_timer(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = None if self._phase is None else self.loop.call_at(self._deadline, self._timed_out)

    def _timed_out(self) -> None:
        if self.loop.time() < self._deadline:  # some of it came
            self._set_timer()
            return
        log_event("too slow", logging.WARNING, waited_for=self._phase)
        if self._phase == "headers":  # to nothing that was asked there is no answer, as with nginx
            self.transport.close()
        elif self.conn.our_state is h11.SEND_RESPONSE:
            self._refuse(LATE)
        else:
            self.transport.abort()

    def _unread_too_long(self) -> None:
        read = self._unread_bytes - self.transport.get_write_buffer_size()
        until = self._paused + READ_TIMEOUT + read / MIN_RATE
        if self.loop.time() < until:
            self._unread = self.loop.call_at(until, self._unread_too_long)
            return
        log_event("too slow", logging.WARNING, waited_for="reading")
        self.transport.abort()

    def _refuse(self, refusal: ApiError) -> None:
        """Send a refusal and close the connection."""
        body = json.dumps(refusal.body()).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        events = (
            h11.Response(status_code=refusal.status, headers=list((headers | refusal.headers).items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) for event in events))
        self.transport.close()


def protocol(limiter: ConnectionLimiter) -> type[LimitedProtocol]:
    """Return the class for uvicorn's option `http`, whose connections share this limiter."""

    class Protocol(LimitedProtocol):
        pass

    Protocol.limiter = limiter
    return Protocol
