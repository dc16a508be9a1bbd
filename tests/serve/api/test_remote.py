"""Pictures from elsewhere: only public addresses, looked at before and used as looked at."""

import http.server
import io
import socket
import threading

import pytest
from PIL import Image

from llmga.serve.api import remote
from llmga.serve.api.errors import ApiError
from llmga.serve.api.uploads import Limits

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_this_machine_and_its_network_are_not_public(address):
    assert not remote.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are(address):
    assert remote.is_public(address)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a.png", "http://localhost/a.png", "http://[::1]/a.png", "http://2130706433/a.png",
     "http://0x7f.1/a.png", "http://127.1:80/", "ftp://example.com/", "http://", "http://a b/", "http://[/",
     "http://user:secret@127.0.0.1/", "http://example.com:99999/", "http://" + "a" * 3000],
)  # fmt: skip
def test_no_spelling_leads_to_this_machine(url):
    with pytest.raises(ApiError) as told:
        remote.fetch(url, Limits())
    assert told.value.status == 400 and "secret" not in told.value.message and "127" not in told.value.message


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch):
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    with pytest.raises(ApiError):
        remote.public_address("example.com", 80)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Host"]))
        if self.path.startswith("/to"):
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/inside" if self.path == "/to-inside" else "/picture")
            self.end_headers()
            return
        buffer = io.BytesIO()
        Image.new("RGB", (2, 2)).save(buffer, "PNG")
        content = buffer.getvalue() if self.path == "/picture" else b"x" * 5000
        self.send_response(200 if self.path != "/missing" else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def public(monkeypatch):
    """A server that plays the internet under the name example.com."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def resolved(host, port, *connecting, **options):
        if connecting:  # the connection itself
            return really(host, port, *connecting, **options)
        address = host if host[0].isdigit() else "93.184.215.14"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def address(host, port):
        checked = real_public(host, port)
        return "127.0.0.1" if checked == "93.184.215.14" else checked

    really, real_public = socket.getaddrinfo, remote.public_address
    monkeypatch.setattr(remote.socket, "getaddrinfo", resolved)
    monkeypatch.setattr(remote, "public_address", address)
    server.url = f"http://example.com:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def test_a_picture_is_fetched_from_the_address_that_was_looked_at(public):
    assert remote.fetch(f"{public.url}/picture", Limits()).startswith(b"\x89PNG")
    assert public.asked == [("/picture", f"example.com:{public.server_port}")]


def test_redirects_are_followed_to_public_places_only(public):
    assert remote.fetch(f"{public.url}/to-picture", Limits()).startswith(b"\x89PNG")
    with pytest.raises(ApiError, match="could not be fetched"):
        remote.fetch(f"{public.url}/to-inside", Limits())
    assert [path for path, _ in public.asked] == ["/to-picture", "/picture", "/to-inside"]


def test_what_is_too_heavy_or_missing_is_refused(public):
    with pytest.raises(ApiError) as told:
        remote.fetch(f"{public.url}/heavy", Limits(picture=4000))
    assert told.value.status == 413
    with pytest.raises(ApiError, match="could not be fetched"):
        remote.fetch(f"{public.url}/missing", Limits())


def test_a_server_fetches_nothing_unless_it_is_told_to(running):
    parts = [{"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}]
    answer = running().http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]})
    assert answer.status_code == 400 and "fetches no pictures" in answer.json()["error"]["message"]
