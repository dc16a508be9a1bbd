"""Quotas of keys, what is charged for, and the log of who used what."""

import asyncio
import json
import stat
import sys
import threading
import time

import pytest
from starlette.testclient import TestClient

from llmga.errors import UserError
from llmga.serve.api import usage
from llmga.serve.api.app import build_app
from llmga.serve.api.audit import FILES, AuditLog
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.fair_queue import FairQueue
from llmga.serve.api.metrics import Metrics
from llmga.serve.keys.store import KeyStore

IMAGES, CHAT, T2I = "/v1/images/generations", "/v1/chat/completions", "/sdapi/v1/txt2img"
DAY = 86_400


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "keys.db", create=True)


@pytest.fixture
def asked(service, store, tmp_path):
    """`asked(path, body, limits)` is the answer to a request under a key of these limits, one key for each name."""
    audit = AuditLog(tmp_path / "audit.jsonl", 1_000_000)
    secrets = {}
    with TestClient(build_app(service(), ApiKeys(store=store), audit=audit)) as client:

        def ask(path, body, name="ann", **limits):
            if name not in secrets:
                secrets[name] = store.add(name, {row.replace("_", "-"): most for row, most in limits.items()})[0]
            return client.post(path, json=body, headers={"Authorization": f"Bearer {secrets[name]}"})

        ask.client, ask.lines = client, lambda: read(tmp_path / "audit.jsonl")
        yield ask
    audit.close()


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def used(store, name="ann"):
    key = next(key for key in store.listed() if key.name == name)
    return store.used(key, time.time())


def talk(words, **body):
    return {"messages": [{"role": "user", "content": words}], **body}


def test_a_server_with_a_store_is_open_to_nobody_without_a_key_of_it(asked):
    assert asked.client.post(CHAT, json=talk("hi")).status_code == 401
    assert asked(CHAT, talk("hi")).status_code == 200


def test_keys_of_a_file_and_of_a_store_open_one_server(service, store):
    secret, _ = store.add("ann")
    keys = ApiKeys(["sk-a-long-secret"], store)
    with TestClient(build_app(service(), keys)) as client:
        for key, status in ((secret, 200), ("sk-a-long-secret", 200), (secret[:-1], 401)):
            assert client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == status
    assert keys.accept(secret) and keys.accept("sk-a-long-secret") and not keys.accept("sk-a-long-secre")


@pytest.mark.parametrize("limit", ["requests_a_day", "requests_a_minute"])
def test_the_request_after_the_last_is_refused_as_openai_does(asked, limit):
    assert [asked(CHAT, talk("hi"), **{limit: 2}).status_code for _ in range(2)] == [200, 200]
    refusal = asked(CHAT, talk("hi"))
    error = refusal.json()["error"]
    assert refusal.status_code == 429 and error["code"] == "insufficient_quota" and error["type"] == "rate_limit_error"
    assert f"{limit.replace('_', '-')} of this key: 0 of 2 are left" in error["message"]
    assert 0 < int(refusal.headers["retry-after"]) <= DAY and refusal.headers["x-should-retry"] == "false"
    assert asked(CHAT, talk("hi"), "bob").status_code == 200  # another key has its own


def test_looking_costs_nothing(asked, store):
    asked(CHAT, talk("hi"), requests_a_day=1)
    secret, _ = store.add("bob", {"requests-a-day": 0})
    headers = {"Authorization": f"Bearer {secret}"}
    assert asked.client.get("/v1/models", headers=headers).status_code == 200
    assert asked.client.post(CHAT, json=talk("hi"), headers=headers).status_code == 429


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (IMAGES, {"prompt": "red", "n": 2, "size": "32x16"}),
        (IMAGES, {"prompt": "red", "n": 2, "size": "32x16", "model": "plain", "stream": True}),
        (CHAT, talk("paint red", size="32x16", picture="always")),
        (CHAT, talk("paint red", size="32x16", stream=True)),
        ("/v1/responses", {"input": "paint red", "tools": [{"type": "image_generation", "size": "32x16"}]}),
        (T2I, {"prompt": "red", "width": 32, "height": 16, "batch_size": 2}),
    ],
)
def test_pictures_are_counted_as_they_are_and_charged_before_they_are_painted(asked, store, path, body):
    pictures = body.get("n") or body.get("batch_size") or 1
    enough = {"pictures_a_day": pictures, "pixels_a_day": pictures * 512}
    assert asked(path, body, **enough).status_code == 200
    assert used(store) == {"requests": 1, "pictures": pictures, "pixels": pictures * 512}
    refusal = asked(path, body)
    assert refusal.status_code == 429 and refusal.json()["error"]["code"] == "insufficient_quota"
    refusal = asked(path, body, "bob", pixels_a_day=pictures * 512 - 1)
    told = refusal.json()["error"]["message"]
    assert refusal.status_code == 429 and "pixels-a-day of this key" in told
    assert f"are left, and this takes {pictures * 512:,}; ask for fewer or smaller ones" in told
    assert used(store, "bob")["pictures"] == 0


def test_what_is_not_painted_is_given_back(asked, store):
    assert asked(CHAT, talk("hi"), pictures_a_day=1).status_code == 200  # words only
    assert asked(IMAGES, {"prompt": "forbidden"}).status_code == 400
    assert used(store)["pictures"] == 0 and asked(IMAGES, {"prompt": "red"}).status_code == 200
    assert asked(CHAT, talk("hi")).status_code == 429
    assert asked(CHAT, talk("hi", paint=False)).status_code == 200


def test_a_key_has_as_many_requests_at_once_as_it_may(running, store):
    secret, _ = store.add("ann", {"at-once": 1})
    other, _ = store.add("bob")
    server = running(keys=(), store=store)
    server.painter.pace = 0.05
    headers = {"Authorization": f"Bearer {secret}"}
    first = threading.Thread(target=lambda: server.http.post(IMAGES, json={"prompt": "red"}, headers=headers))
    first.start()
    assert server.painter.started.wait(20)
    refusal = server.http.post(CHAT, json=talk("hi"), headers=headers)
    assert refusal.status_code == 429 and refusal.json()["error"]["code"] == "rate_limit_exceeded"
    assert refusal.headers["retry-after"] == "1"
    assert server.http.post(CHAT, json=talk("hi"), headers={"Authorization": f"Bearer {other}"}).status_code == 200
    first.join()
    assert server.http.post(CHAT, json=talk("hi"), headers=headers).status_code == 200
    assert 'llmga_over_quota_total{limit="at-once"} 1.0' in server.http.get("/metrics").text


def test_before_an_answer_ends_its_place_and_what_it_did_not_use_are_free(store):
    secret, key = store.add("ann", {"at-once": 1, "pictures-a-day": 1})
    seen = []

    async def app(scope, receive, send):
        usage.current().reserve(1, 64)
        seen.append((used(store)["pictures"], dict(limited._at_once)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for more in (True, False):
            await send({"type": "http.response.body", "body": b"x", "more_body": more})

    async def send(message):
        seen.append((used(store)["pictures"], dict(limited._at_once)))

    metrics = Metrics(FairQueue(1, 1))
    limited = usage.UsageMiddleware(app, metrics, store)
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [], "state": {"key": key, "client": "ann"}}
    asyncio.run(limited(scope, None, send))
    assert seen == [(1, {key.id: 1})] * 3 + [(0, {})] and not limited._at_once


def test_a_revoked_key_is_refused_by_a_server_that_runs(asked, store):
    assert asked(CHAT, talk("hi")).status_code == 200
    KeyStore(store.path).revoke("ann")
    assert asked(CHAT, talk("hi")).status_code == 401


def test_a_store_that_cannot_be_read_lets_nobody_in(asked, store):
    asked(CHAT, talk("hi"))
    store.close()
    answer = asked(CHAT, talk("hi"))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "5"


def test_the_audit_log_says_who_used_what_and_nothing_of_what_was_said(asked, store, tmp_path):
    asked(IMAGES, {"prompt": "a red secret", "n": 2, "size": "32x16", "model": "plain"})
    asked(CHAT, talk("another secret"))
    asked(CHAT, talk("hi", model="a secret model"))
    asked.client.post(CHAT, json=talk("hi"))  # without a key
    key = f"key-{store.listed()[0].id}"
    lines = asked.lines()
    wanted = [
        ("/v1/images/generations", "plain", 2, 1024, 200),
        ("/v1/chat/completions", "echo", 0, 0, 200),
        ("/v1/chat/completions", None, 0, 0, 404),
    ]
    assert [
        tuple(line[name] for name in ("route", "model", "pictures", "pixels", "status")) for line in lines
    ] == wanted
    assert {line["client"] for line in lines} == {key} and all(line["seconds"] >= 0 for line in lines)
    assert len({line["request"] for line in lines}) == 3
    assert "secret" not in (tmp_path / "audit.jsonl").read_text()


def test_the_audit_log_is_bounded_and_its_owners(tmp_path):
    audit = AuditLog(tmp_path / "audit.jsonl", 5000)
    for number in range(200):
        audit.write(number=number)
    audit.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == FILES and sum(file.stat().st_size for file in files) <= 5000
    assert read(tmp_path / "audit.jsonl")[-1]["number"] == 199
    if sys.platform != "win32":
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    with pytest.raises(UserError, match="--audit-log .* cannot be written"):
        AuditLog(tmp_path / "no" / "folder" / "audit.jsonl", 5000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the full device is Linux'")
def test_a_full_disk_stops_no_request_and_is_told(caplog):
    audit = AuditLog("/dev/full", 0)
    with caplog.at_level("ERROR", "llmga.serve.api"):
        audit.write(number=1)
    assert "the audit log cannot be written" in caplog.text
