"""Pictures from elsewhere: only public addresses, looked at before and used as looked at."""

import asyncio
import http.server
import io
import socket
import threading
from contextlib import suppress

import pytest
from PIL import Image

from llmga.serve.api import fetching
from llmga.serve.api.errors import ApiError
from llmga.serve.api.options import RequestLimits

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_this_machine_and_its_network_are_not_public(address):
    assert not fetching.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are(address):
    assert fetching.is_public(address)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a.png", "http://localhost/a.png", "http://[::1]/a.png", "http://2130706433/a.png",
     "http://0x7f.1/a.png", "http://127.1:80/", "ftp://example.com/", "http://", "http://a b/", "http://[/",
     "http://user:secret@127.0.0.1/", "http://example.com:99999/", "http://" + "a" * 3000],
)  # fmt: skip
def test_no_spelling_leads_to_this_machine(url):
    with pytest.raises(ApiError) as told:
        fetched(url, RequestLimits())
    assert told.value.status == 400 and "secret" not in told.value.message and "127" not in told.value.message


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch):
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    with pytest.raises(ApiError):
        fetching.public_address("example.com", 80)


def fetched(url, limits):
    return asyncio.run(fetching.ImageFetcher(limits).fetch([url], "somebody"))[url]


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
        if self.path.startswith("/drip"):
            self._drip(f"HTTP/1.0 200 OK\r\nX-Long: {'x' * 40}\r\n\r\n" if self.path == "/drip-headers" else "")
            return
        buffer = io.BytesIO()
        Image.new("RGB", (2, 2)).save(buffer, "PNG")
        content = buffer.getvalue() if self.path == "/picture" else b"x" * 5000
        self.send_response(200 if self.path != "/missing" else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _drip(self, headers):
        """A whole answer in the end, and a byte of it whenever somebody might lose patience."""
        self.wfile.write(b"" if headers else b"HTTP/1.0 200 OK\r\n\r\n")
        with suppress(OSError):
            for letter in headers or "x" * 40:
                self.wfile.write(letter.encode())
                self.server.leave.wait(0.05)


@pytest.fixture
def public(monkeypatch):
    """A server that plays the internet under the name example.com."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.leave = [], threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def resolved(host, port, *connecting, **options):
        if connecting:  # the connection itself
            return really(host, port, *connecting, **options)
        address = host if host[0].isdigit() else "93.184.215.14"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def address(host, port):
        checked = real_public(host, port)
        return "127.0.0.1" if checked == "93.184.215.14" else checked

    really, real_public = socket.getaddrinfo, fetching.public_address
    monkeypatch.setattr(fetching.socket, "getaddrinfo", resolved)
    monkeypatch.setattr(fetching, "public_address", address)
    server.url = f"http://example.com:{server.server_port}"
    yield server
    server.leave.set()
    server.shutdown()
    server.server_close()


def test_a_picture_is_fetched_from_the_address_that_was_looked_at(public):
    assert fetched(f"{public.url}/picture", RequestLimits()).startswith(b"\x89PNG")
    assert public.asked == [("/picture", f"example.com:{public.server_port}")]


def test_redirects_are_followed_to_public_places_only(public):
    assert fetched(f"{public.url}/to-picture", RequestLimits()).startswith(b"\x89PNG")
    with pytest.raises(ApiError, match="could not be fetched"):
        fetched(f"{public.url}/to-inside", RequestLimits())
    assert [path for path, _ in public.asked] == ["/to-picture", "/picture", "/to-inside"]


def test_what_is_too_heavy_or_missing_is_refused(public):
    with pytest.raises(ApiError) as told:
        fetched(f"{public.url}/heavy", RequestLimits(picture=4000))
    assert told.value.status == 413
    with pytest.raises(ApiError, match="could not be fetched"):
        fetched(f"{public.url}/missing", RequestLimits())


@pytest.mark.parametrize("path", ["/drip-headers", "/drip-contents"])
def test_the_deadline_is_one_however_slowly_it_drips(public, monkeypatch, path):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.5)
    with pytest.raises(ApiError, match="could not be fetched"):
        fetched(f"{public.url}{path}", RequestLimits())
    assert public.asked


def test_a_name_server_that_is_silent_is_waited_for_no_longer(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(fetching, "TIMEOUT", 0.1)
    monkeypatch.setattr(fetching, "public_address", lambda *_: answered.wait(60))
    try:
        with pytest.raises(ApiError, match="could not be fetched"):
            fetched("http://example.com/", RequestLimits())
    finally:
        answered.set()


def asking(urls, **others):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}], **others}


def test_a_chat_sees_pictures_from_elsewhere_each_fetched_once(running, public):
    body = asking([f"{public.url}/picture"] * 2)
    answer = running("--remote-pictures").http.post("/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"].strip() == "0 0 0 0 0 0"
    assert len(public.asked) == 1


def test_pictures_that_never_come_hold_up_their_own_request_only(running, monkeypatch):
    """The one place at work stays free, and a client has no more than its share of the threads."""
    answered, looked_up = threading.Event(), []

    def silent(host, port):
        looked_up.append(host)
        answered.wait(60)
        raise ApiError(400, "there is no such host.")

    monkeypatch.setattr(fetching, "public_address", silent)
    server = running("--remote-pictures", "--at-once", "1")
    body = asking([f"http://{number}.example/" for number in range(fetching.PER_CLIENT + 3)])
    slow = threading.Thread(target=lambda: server.http.post("/v1/chat/completions", json=body))
    slow.start()
    try:
        server.wait(lambda: len(looked_up) == fetching.PER_CLIENT)
        assert server.chat("hello").json()["choices"][0]["message"]["content"] == "You said: hello "
        assert len(looked_up) == fetching.PER_CLIENT and server.http.get("/health").json()["running"] == 0
    finally:
        answered.set()
        slow.join()


def test_pictures_of_one_request_weigh_no_more_than_a_request_may(running, public):
    server = running("--remote-pictures", "--max-request-mb", "0.01")
    answer = server.http.post("/v1/chat/completions", json=asking(f"{public.url}/{n}" for n in range(3)))
    assert answer.status_code == 413 and "10,000 bytes together" in answer.json()["error"]["message"]
    many = asking([f"{public.url}/picture"] * 17)
    assert server.http.post("/v1/chat/completions", json=many).json()["error"]["code"] == "too_many_images"


def test_a_server_fetches_nothing_unless_it_is_told_to(running):
    parts = [{"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}]
    answer = running().http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]})
    assert answer.status_code == 400 and "fetches no pictures" in answer.json()["error"]["message"]
