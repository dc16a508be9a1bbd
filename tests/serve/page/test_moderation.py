"""What is asked of a moderation service, and what is done when it does not answer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from llmga.errors import UserError
from llmga.serve.gradio_web_server import build_parser
from llmga.serve.page.moderation import moderator


class Judge(BaseHTTPRequestHandler):
    """Flags what contains "evil"; "odd" gets an answer that is none."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        self.server.keys.append(self.headers.get("Authorization"))
        answer = {} if "odd" in asked else {"results": [{"flagged": "evil" in asked}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def judge() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Judge)
    server.keys = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def asked_by(*flags: str):
    args = build_parser().parse_args(flags)
    return moderator(args.moderate, args.moderation_url)


def asking(url: str):
    return asked_by("--moderation-url", url)


def test_nobody_is_asked_without_the_flag() -> None:
    assert asked_by() is None


def test_a_text_is_flagged_or_not(judge: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    ask = asking(f"http://127.0.0.1:{judge.server_port}/v1/moderations")
    assert ask("an evil plan") and not ask("a red circle")
    assert judge.keys == ["Bearer sk-1"] * 2


def test_nothing_passes_while_nobody_answers(judge: HTTPServer) -> None:
    with pytest.raises(UserError, match="does not answer"):
        asking(f"http://127.0.0.1:{judge.server_port}/v1/moderations")("odd")
    with pytest.raises(UserError, match="does not answer"):
        asking("http://127.0.0.1:9/v1/moderations")("a red circle")


def test_openai_is_not_asked_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        asked_by("--moderate")
