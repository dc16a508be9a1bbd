"""JSON is read beside the event loop, and is small apart from its pictures."""

import asyncio
import base64
import json
import threading

import pytest
from starlette.exceptions import HTTPException

from llmga.serve.api import routing
from llmga.serve.api.app import build_app
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.routing import parse_json, size_without_images

PICTURE = base64.b64encode(bytes(600_000)).decode()


@pytest.fixture
def client(reached):
    return reached("--max-json-mb", "0.1")


def chat(*parts):
    return {"messages": [{"role": "user", "content": list(parts)}]}


def shown(url):
    return {"type": "image_url", "image_url": {"url": url}}


def test_pictures_are_counted_apart():
    body = json.dumps(chat({"type": "text", "text": "look"}, shown(f"data:image/png;base64,{PICTURE}"))).encode()
    assert size_without_images(body) == len(body) - len(PICTURE)
    assert parse_json(body, 1000) == json.loads(body)


def test_pictures_in_markdown_are_counted_apart_and_the_words_around_them_are_not():
    words = "x" * 500
    text = f"{words} ![a](data:image/png;base64,{PICTURE}) {words} ![b](data:image/png;base64,{PICTURE}) {words}"
    assert 1500 < size_without_images(json.dumps({"content": text}).encode()) < 1700


@pytest.mark.parametrize(
    "body",
    [
        '{"a": ";base64,", "b": [%s]}',
        '{"a": "\\";base64,", "b": [%s]}',
        '{"a": ";base64,)", "b": [%s]}',
        '{"a": ";base64,(", "b)": [%s]}',
    ],
)
def test_what_a_parser_makes_things_of_is_always_counted(body):
    body = (body % ",".join(["{}"] * 10_000)).encode()
    assert json.loads(body) and size_without_images(body) > 29_000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_no_other_encoding_hides_anything(encoding):
    hidden = "".join(chr(pair) for pair in memoryview(b";base64,").cast("H"))  # its bytes are read as the mark
    with pytest.raises(HTTPException, match="is not UTF-8"):
        parse_json(json.dumps({"a": hidden, "b": [{}] * 9}, ensure_ascii=False).encode(encoding), 10**6)


def test_what_is_nested_too_deeply_is_told():
    with pytest.raises(HTTPException) as told:
        parse_json(b'{"a":' + b"[" * 100_000, 10**6)
    assert told.value.status_code == 400 and "nested" in told.value.detail


def test_a_request_that_is_large_beside_its_pictures_is_refused(client):
    answer = client.post("/v1/chat/completions", json=chat() | {"junk": [[]] * 40_000})
    assert answer.status_code == 413 and "100,000 bytes beside its pictures" in answer.json()["error"]["message"]
    broken = client.post("/v1/chat/completions", json=chat(shown(f"data:image/png;base64,{PICTURE}")))
    assert broken.status_code == 400 and "picture" in broken.json()["error"]["message"]  # it was read and looked at


def test_it_is_parsed_in_another_thread_than_the_loops(service, monkeypatch):
    seen = []
    monkeypatch.setattr(
        routing, "parse_json", lambda body, most: seen.append(threading.get_ident()) or json.loads(body)
    )

    app = build_app(service(), ApiKeys())

    async def asked():
        messages = [{"type": "http.request", "body": b'{"prompt": 7}'}]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/images/generations", "query_string": b"", "root_path": "",
            "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip

        async def receive():
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message):
            pass

        await app(scope, receive, send)
        return threading.get_ident()

    assert asyncio.run(asked()) not in seen and len(seen) == 1
