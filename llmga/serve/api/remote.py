"""Pictures from other servers, where the host allows it: never from this machine or its network."""

import ipaddress
import socket
import time
from urllib.parse import urljoin, urlsplit

import httpx

from llmga.serve.api.errors import ApiError
from llmga.serve.api.uploads import Limits, too_many_bytes

REDIRECTS = 3
SECONDS = 10.0  # for everything together
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # addresses of IPv4, written in IPv6


def fetch(url: str, limits: Limits) -> bytes:
    """The bytes at an http(s) address.

    The host is resolved, every one of its addresses has to be public, and the connection goes to one that was
    looked at, so that a second answer of the name server changes nothing.  Redirects are looked at in the same way.

    Raises: ApiError, which says no more of a failure than that there was one.
    """
    until = time.monotonic() + SECONDS
    for _ in range(REDIRECTS + 1):
        answer, following = _asked(url, limits, until)
        if following is None:
            return answer
        url = urljoin(url, following)
    raise _unreachable()


def _asked(url: str, limits: Limits, until: float) -> tuple[bytes, str | None]:
    """The body, or where it is to be found instead."""
    host, port, scheme = _parts(url)
    address = public_address(host, port)
    literal = f"[{address}]" if ":" in address else address
    target = httpx.URL(url).copy_with(host=literal.strip("[]"), port=port, userinfo=b"", fragment=None)
    named = host if port == (443 if scheme == "https" else 80) else f"{host}:{port}"
    try:
        with (
            httpx.Client(trust_env=False, follow_redirects=False, timeout=SECONDS) as client,
            client.stream(
                "GET", target, headers={"Host": named, "Accept": "image/*"}, extensions={"sni_hostname": host}
            ) as answer,
        ):
            if answer.is_redirect:
                return b"", answer.headers["location"]
            if answer.status_code != 200:
                raise _unreachable()
            return _bounded(answer, limits, until), None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError):
        raise _unreachable() from None


def _bounded(answer: httpx.Response, limits: Limits, until: float) -> bytes:
    content = bytearray()
    for piece in answer.iter_bytes(65536):
        content += piece
        if len(content) > limits.picture:
            raise too_many_bytes(limits)
        if time.monotonic() > until:
            raise _unreachable()
    return bytes(content)


def _parts(url: str) -> tuple[str, int, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        host = host and host.encode("idna").decode()
    except (ValueError, UnicodeError):
        host = None
    if not host or parts.scheme not in ("http", "https") or len(url) > 2000:
        raise ApiError(400, "the address of a picture is none of http or https.", code="invalid_image_url")
    return host, port or (443 if parts.scheme == "https" else 80), parts.scheme


def public_address(host: str, port: int) -> str:
    """One of the host's addresses; ApiError unless all of them are public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _unreachable() from None
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise _unreachable()
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address belongs to the internet at large, whatever it is wrapped in."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:  # given up long ago, and still routed within some networks
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _unreachable() -> ApiError:
    return ApiError(400, "the picture at the given address could not be fetched; send it as a data: URI.",
                    code="invalid_image_url")  # fmt: skip
