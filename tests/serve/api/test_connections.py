"""Connections are few enough and in time, and what is refused does not fill the log."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn

from llmga.serve.api import connections
from llmga.serve.api.app import build_app
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.connections import ConnectionLimiter, protocol
from llmga.serve.api.logs import MAX_REFUSALS, RateLimitFilter

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SOON = 0.4  # seconds, in place of half a minute
LARGE = 16_000_000  # bytes; a picture of noise in base64 has more, and no sockets hold as much


class Door:
    """A server behind a door.

    Attributes:
        port: where it listens.  `held`: how many connections it counts.
    """

    def __init__(self, port: int, held: Callable[[], int]):
        self.port, self.held = port, held


@pytest.fixture
def door(engine, service, request, monkeypatch):
    """`door(total, each, HEADERS_TIMEOUT=…)` is a door of such bounds and deadlines; on Ray it is that of the proxy."""
    with ExitStack() as opened:

        def start(total=9, each=9, **deadlines):
            if engine == "ray":
                return opened.enter_context(tried(request.getfixturevalue("ray_cluster"), total, each, deadlines))
            for name, value in deadlines.items():
                monkeypatch.setattr(connections, name, value)
            return opened.enter_context(served(build_app(service(), ApiKeys()), ConnectionLimiter(total, each)))

        yield start


@contextmanager
def tried(cluster, total, each, deadlines):
    cluster.http.close()
    cluster.http = cluster.client()
    cluster.board()
    cluster.door.becomes(max_total=total, max_per_address=each, **deadlines)
    made = Door(cluster.port, cluster.door.held)
    until_left(made)
    yield made
    cluster.door.becomes()


@contextmanager
def served(app, limiter):
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, http=protocol(limiter), ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield Door(server.servers[0].sockets[0].getsockname()[1], limiter.counts.total)
    server.should_exit = True
    thread.join(20)


def connected(port, sent=b""):
    opened = socket.create_connection(("127.0.0.1", port), 60)
    opened.sendall(sent)
    return opened


def answer(opened):
    """All that comes until the server closes."""
    pieces = []
    while piece := opened.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def healthy(opened):
    opened.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    said = b""
    while not said.endswith(b"}"):
        said += opened.recv(65536)
    return said.startswith(b"HTTP/1.1 200")


def drip(opened, piece):
    """Send a little again and again; whether the server ended that."""
    opened.settimeout(SOON / 4)
    for _ in range(100):
        try:
            opened.sendall(piece)
            opened.recv(65536)
            return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", b""),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b""),
        (HEAD + b"Content-Length: 50\r\n\r\n{", b"HTTP/1.1 408"),
    ],
    ids=["nothing", "half of the headers", "half of the body"],
)
def test_who_says_nothing_more_is_not_waited_for(door, sent, told):
    with connected(door(HEADERS_TIMEOUT=SOON, BODY_TIMEOUT=SOON).port, sent) as opened:
        assert answer(opened)[:12] == told


@pytest.mark.parametrize(
    ("sent", "piece"),
    [(b"GET /health HTTP/1.1\r\nX-Long: ", b"x"), (HEAD + b"Content-Length: 5000\r\n\r\n", b" ")],
    ids=["headers", "body"],
)
def test_dripping_makes_no_deadline_later(door, sent, piece):
    with connected(door(HEADERS_TIMEOUT=SOON, BODY_TIMEOUT=SOON).port, sent) as opened:
        assert drip(opened, piece)


def test_what_comes_steadily_may_take_its_time(door):
    content = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
    with connected(
        door(BODY_TIMEOUT=SOON, MIN_RATE=10).port,
        HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(content),
    ) as opened:
        for start in range(0, len(content), 20):
            time.sleep(SOON / 2)
            opened.sendall(content[start : start + 20])
        assert b"You said: hello" in answer(opened)


def waiting_answer(port):
    """A connection on which an answer waits that is larger than what sockets hold."""
    body = json.dumps({"prompt": "noise", "size": "2048x2048", "model": "plain"}).encode()
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE // 20)
    opened.connect(("127.0.0.1", port))
    head = HEAD.replace(b"/v1/chat/completions", b"/v1/images/generations") + b"Connection: close\r\n"
    opened.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return opened


def test_an_answer_that_is_read_steadily_may_take_its_time(door):
    with waiting_answer(door(READ_TIMEOUT=SOON, MIN_RATE=LARGE // 40).port) as opened:
        said = opened.recv(65536)
        while piece := opened.recv(LARGE // 20):
            said += piece
            time.sleep(SOON / 8)
    assert len(said) > LARGE


def test_an_answer_that_nobody_reads_is_not_kept(door):
    behind = door(READ_TIMEOUT=SOON, MIN_RATE=LARGE * 100)
    with waiting_answer(behind.port) as opened:
        opened.recv(1)
        until_left(behind)
        assert len(answer(opened)) < LARGE


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"RUBBISH\r\n\r\n", b"HTTP/1.1 400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n", b"HTTP/1.1 400"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nRUBBISH\r\n\r\n", b"HTTP/1.1 200"),
    ],
    ids=["instead of a request", "in a body", "after the last request"],
)
def test_what_is_no_http_ends_a_connection_and_nothing_else(door, caplog, sent, told):
    with connected(door().port, sent) as opened:
        said = answer(opened)
    assert said.startswith(told) and said.endswith(b"}") and "Fatal error" not in caplog.text


def test_a_connection_is_used_again_and_its_place_given_back(door):
    behind = door()
    for _ in range(3):
        with connected(behind.port) as opened:
            for _ in range(3):
                assert healthy(opened)
            behind_holds(behind, 1)
        until_left(behind)


def until_left(behind):
    behind_holds(behind, 0)


def behind_holds(behind, connections):
    until = time.monotonic() + 30
    while behind.held() != connections:
        assert time.monotonic() < until, f"{behind.held()} connections"
        time.sleep(0.01)


@pytest.mark.parametrize(("total", "each", "status"), [(2, 9, b"503"), (9, 2, b"429")])
def test_one_connection_too_many_is_told_when_to_come_again(door, total, each, status):
    behind = door(total, each)
    with connected(behind.port) as first, connected(behind.port):
        assert healthy(first)
        behind_holds(behind, 2)
        with connected(behind.port) as third:
            said = answer(third)
        assert said.startswith(b"HTTP/1.1 " + status) and b"Retry-After: 5" in said and b"connections_full" in said
    until_left(behind)


def line(level, event, **fields):
    record = logging.LogRecord("llmga", level, "", 0, event, None, None)
    record.fields = fields
    return record


def test_the_log_has_one_line_of_a_warning_and_a_few_of_a_refusal_in_a_period():
    sparing, told = RateLimitFilter(), []
    for _ in range(1000):
        for record in (
            line(logging.WARNING, "Invalid HTTP request received."),
            line(logging.INFO, "answered", status=401, route="/v1/models"),
            line(logging.INFO, "answered", status=200, route="/v1/models"),
        ):
            if sparing.filter(record):
                told.append(record.fields.get("status"))
    assert told.count(None) == 1 and told.count(401) == MAX_REFUSALS and told.count(200) == 1000
    later = line(logging.WARNING, "Invalid HTTP request received.")
    later.created += 60
    assert sparing.filter(later) and later.fields["left_out"] == 999


def test_defects_of_different_kinds_are_all_told():
    sparing = RateLimitFilter()
    for error in (ValueError, KeyError):
        record = line(logging.ERROR, "defect")
        record.exc_info = (error, error(), None)
        assert sparing.filter(record)
