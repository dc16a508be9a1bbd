"""Who may ask."""

import hmac

import pytest
from starlette.requests import Request

from llmga.errors import UserError
from llmga.serve.api.auth import ApiKeys, is_local
from llmga.serve.api.errors import ApiError

KEY = "sk-a-long-secret"


def request(authorization=None):
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    return Request({"type": "http", "headers": headers, "client": ("10.0.0.9", 1)})


def test_keys_come_from_a_file_and_the_environment(tmp_path):
    (tmp_path / "keys").write_text(f"\n{KEY}\n\n sk-another-one \n")
    keys = ApiKeys.read(str(tmp_path / "keys"), "sk-third-one,, sk-fourth-one")
    names = {
        keys.client_name(request(f"Bearer {key}")) for key in (KEY, "sk-another-one", "sk-third-one", "sk-fourth-one")
    }
    assert len(names) == 4 and KEY not in str(names)


def test_a_comment_in_the_file_is_no_key_and_a_mistake_names_its_line(tmp_path):
    (tmp_path / "keys").write_text(f"# a comment\n{KEY}\n")
    keys = ApiKeys.read(str(tmp_path / "keys"), None)
    assert keys.accept(KEY) and not keys.accept("# a comment")
    (tmp_path / "keys").write_text(f"{KEY}\n# a comment\n short\n")
    with pytest.raises(UserError, match="^line 3 of --api-keys-file '.*': an API key has 5 characters"):
        ApiKeys.read(str(tmp_path / "keys"), None)


def test_without_keys_a_client_is_its_address():
    assert ApiKeys().client_name(request("Bearer whatever")) == "10.0.0.9" and not ApiKeys.read(None, None)


def test_every_key_is_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    keys = ApiKeys([KEY, "sk-another-one", "sk-third-one"])
    keys.client_name(request(f"Bearer {KEY}"))
    with pytest.raises(ApiError):
        keys.client_name(request("Bearer sk-wrong"))
    assert len(compared) == 6 and {len(side) for pair in compared for side in pair} == {32}


@pytest.mark.parametrize("content", ["", "\n \n", "# only words of ours", "short"])
def test_a_file_without_a_usable_key_is_a_mistake(tmp_path, content):
    (tmp_path / "keys").write_text(content)
    with pytest.raises(UserError):
        ApiKeys.read(str(tmp_path / "keys"), None)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("rebound.example", False),
        ("", False),
    ],
)
def test_a_server_knows_whether_only_this_machine_reaches_it(host, local):
    assert is_local(host) == local


@pytest.mark.parametrize(
    ("host", "keys", "status"),
    [
        ("localhost:8000", (), 200),
        ("127.0.0.1:8000", (), 200),
        ("[::1]:8000", (), 200),
        ("rebound.example:8000", (), 403),
        ("", (), 403),
        ("rebound.example", (KEY,), 200),
    ],
)
def test_without_keys_a_local_server_answers_under_names_of_this_machine_only(reached, host, keys, status):
    headers = {"Host": host, "Authorization": f"Bearer {KEY}"}
    assert reached(keys=keys, local=True).get("/v1/models", headers=headers).status_code == status


@pytest.mark.parametrize("host", ["", "a{b.rebound.example", "rebound.example:port", "[", "x@rebound.example", "a b"])
def test_a_host_that_cannot_be_read_is_not_taken_for_this_machine(reached, host):
    client = reached(local=True)
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/models", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("keys", [(), (KEY,)])
@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/nowhere"])
def test_what_asks_no_key_is_told_under_names_of_this_machine_only(reached, path, keys):
    client = reached(keys=keys, local=True)
    assert client.get(path, headers={"Host": "rebound.example"}).status_code == 403
    assert client.get(path, headers={"Host": "localhost:8000"}).status_code != 403
    assert client.get("/health", headers={"Host": "rebound.example"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {KEY}"}, 200),
    ],
)
def test_without_keys_pages_of_other_sites_can_send_nothing(reached, headers, status):
    client = reached(keys=[KEY] if "Authorization" in headers else [], local=True)
    headers = headers | {"Host": "localhost:8000"}
    sent = client.post("/v1/images/generations", json={"prompt": "red"}, headers=headers)
    assert sent.status_code == status
    assert client.get("/v1/models", headers=headers).status_code == 200
