"""A URL is understood generously; what cannot be one is told."""

import pytest

from llmga.errors import UserError
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.endpoint.chat import EndpointChat
from tests.talks import Talk


@pytest.mark.parametrize(
    "url",
    ["http://a:8000", "http://a:8000/", "http://a:8000/v1", " http://a:8000/v1/", "http://a:8000/v1/chat/completions"],
)
def test_the_base_is_found(url):
    assert Endpoint(url).url == "http://a:8000/v1"


def test_another_path_is_kept():
    assert str(Endpoint("https://a/x/openai/?v=1").path("models")) == "https://a/x/openai/models?v=1"


@pytest.mark.parametrize(
    "url", ["", "localhost:8000/v1", "ftp://a/v1", "http://", "http://a:port", "http:///v1", "a b", "http://a:99999"]
)
def test_what_is_no_url_is_told(url):
    with pytest.raises(UserError, match="is no address of a server .*http://localhost:8000/v1") as caught:
        Endpoint(url)
    assert "\n" not in str(caught.value)


def test_messages_and_records_hold_no_password():
    endpoint = Endpoint("http://me:secret@a:1/v1?token=x", key="sk-1")
    assert endpoint.shown == "http://a:1/v1"
    assert "sk-1" not in repr(endpoint)
    with pytest.raises(UserError, match="characters that no key has") as caught:
        Endpoint("http://a", key="sk-1\nHost: b")
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("[::1]", True), ("10.0.0.1", False), ("a", False)],
)
def test_what_is_on_this_machine(host, local):
    assert Endpoint(f"http://{host}:80/v1").is_local is local


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(serving, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = serving("Hello.")
    chat = Talk(EndpointChat(Endpoint(server.url).named()))
    assert "".join(chat.say("hi")) == "Hello."
    assert chat.endpoint.model == "tiny"
    with pytest.raises(UserError, match="http://10.255.255.1/v1 cannot be reached"):
        Endpoint("http://10.255.255.1", "tiny").named()


def test_a_proxy_that_cannot_be_one_is_told(monkeypatch):
    monkeypatch.setenv("http_proxy", "nonsense://x")
    monkeypatch.setenv("HTTP_PROXY", "nonsense://x")
    with pytest.raises(UserError, match="through the proxy that the environment names"):
        Endpoint("http://10.255.255.1", "tiny").named()


def test_the_only_model_needs_no_name(serving):
    assert Endpoint(serving("a").url).named().model == "tiny"
    with pytest.raises(UserError, match=r"several models \(a, b\); name the one to use with --mllm-model"):
        Endpoint(serving("a", models=["a", "b"]).url).named()
    with pytest.raises(UserError, match="no list of models; name the one"):
        Endpoint(serving("a", models=None).url).named()


def test_a_server_without_a_list_is_fine_with_a_name(serving):
    assert Endpoint(serving("a", models=None).url, "mine").named().model == "mine"
    assert Endpoint(serving("a", models=["other"]).url, "mine").named().model == "mine"  # some take any name
