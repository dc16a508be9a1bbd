"""A chat server of few lines that plays a script."""

import atexit
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp()  # read when the library is imported
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)

Act = Callable[["Handler", dict], None]


class Handler(BaseHTTPRequestHandler):
    """One request.  An act writes its answer with `head`, `chunk` and `end`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Type": kind, "Transfer-Encoding": "chunked"} | named).items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def event(self, **choice: object) -> None:
        self.chunk(f"data: {json.dumps({'choices': [{'index': 0, **choice}]})}\n\n")

    def end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def json(self, content: object, status: int = 200, **headers: str) -> None:
        self.head(status, "application/json", **headers)
        self.chunk(json.dumps(content))
        self.end()

    def do_GET(self) -> None:
        self.server.gets.append((self.path, dict(self.headers)))
        if self.server.models is None or self.path != "/v1/models":
            self.json({"error": {"message": "Not Found"}}, 404)
        else:
            self.json({"object": "list", "data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.headers.append(dict(self.headers))
        if self.path != "/v1/chat/completions":
            self.json({"detail": "Not Found"}, 404)
            return
        act = self.server.acts.pop(0) if len(self.server.acts) > 1 else self.server.acts[0]
        try:
            act(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.server.answered.release()


class Server(ThreadingHTTPServer):
    """Plays one act a request, the last one for ever; remembers what was asked.

    Attributes:
        requests, headers: of each POST.  `gets`: path and headers of each GET.
        leaving: set when the test ends, for acts that wait.
        answered: released after every act.
    """

    daemon_threads = True

    def __init__(self, acts: list[Act], models: list[str] | None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts, self.models = acts, models
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.gets: list[tuple[str, dict]] = []
        self.leaving, self.answered = threading.Event(), threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    """`serving(act, …, models=[…])` is a running server; a text is an act that streams it in pieces of five letters."""
    servers = []

    def start(*acts: Act | str, models: list[str] | None = ("tiny",)) -> Server:
        server = Server([saying(act) if isinstance(act, str) else act for act in acts], models)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.leaving.set()
        server.shutdown()
        server.server_close()


def saying(text: str) -> Act:
    def act(handler: Handler, body: dict) -> None:
        handler.head()
        handler.event(delta={"role": "assistant", "content": ""})
        for start in range(0, len(text), 5):
            handler.event(delta={"content": text[start : start + 5]})
        handler.event(delta={}, finish_reason="stop")
        handler.chunk("data: [DONE]\n\n")
        handler.end()

    return act
