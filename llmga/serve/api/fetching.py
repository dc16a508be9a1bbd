"""Pictures from other servers, where the host allows it: never from this machine or its network."""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from urllib.parse import urljoin, urlsplit
from weakref import WeakValueDictionary

import httpx

from llmga.serve.api.errors import ApiError
from llmga.serve.api.uploads import Limits, too_many_bytes

REDIRECTS = 3
SECONDS = 10.0  # for everything together: name server, connections, headers, contents, redirects
AT_ONCE, EACH = 16, 4  # fetched at the same time, of all clients and of each
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # addresses of IPv4, written in IPv6
POOL = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch")  # what hangs here holds nothing else up


class Fetcher:
    """The pictures that requests name, fetched before the requests stand in line."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def fetch(self, urls: Sequence[str], client: str) -> dict[str, bytes]:
        """The bytes at each address; together no more than a request may have.

        Raises: ApiError, also when it takes longer than `SECONDS`.
        """
        place = self._places.setdefault(client, asyncio.Semaphore(EACH))
        tasks = {url: asyncio.ensure_future(self._one(url, place)) for url in OrderedDict.fromkeys(urls)}
        try:
            async with asyncio.timeout(SECONDS):
                contents = dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
        except TimeoutError:
            raise _unreachable() from None
        finally:
            for task in tasks.values():
                task.cancel()
        if sum(map(len, contents.values())) > self.limits.body:
            raise ApiError(413, f"the pictures have more than {self.limits.body:,} bytes together; name fewer.",
                           code="image_too_large")  # fmt: skip
        return contents

    async def _one(self, url: str, place: asyncio.Semaphore) -> bytes:
        until, loop = time.monotonic() + SECONDS, asyncio.get_running_loop()
        await place.acquire()
        fetching = POOL.submit(_fetched, url, self.limits, until)

        def ended(_: Future) -> None:  # a name server may be waited for longer than the request is
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(place.release)

        fetching.add_done_callback(ended)
        return await asyncio.wrap_future(fetching)


def fetch(url: str, limits: Limits) -> bytes:
    """The bytes at an http(s) address.

    The host is resolved, every one of its addresses has to be public, and the connection goes to one that was
    looked at, so that a second answer of the name server changes nothing.  Redirects are looked at in the same way.

    Raises: ApiError, which says no more of a failure than that there was one.
    """
    try:
        return POOL.submit(_fetched, url, limits, time.monotonic() + SECONDS).result(SECONDS)
    except TimeoutError:
        raise _unreachable() from None


def _fetched(url: str, limits: Limits, until: float) -> bytes:
    for _ in range(REDIRECTS + 1):
        host, port, scheme = _parts(url)
        address = public_address(host, port)
        answer, following = asyncio.run(_asked(url, host, port, scheme, address, limits, until))
        if following is None:
            return answer
        url = urljoin(url, following)
    raise _unreachable()


async def _asked(
    url: str, host: str, port: int, scheme: str, address: str, limits: Limits, until: float
) -> tuple[bytes, str | None]:
    """The body, or where it is to be found instead; however slowly it comes, it ends at `until`."""
    named = host if port == (443 if scheme == "https" else 80) else f"{host}:{port}"
    headers = {"Host": named, "Accept": "image/*", "Accept-Encoding": "identity"}
    try:
        target = httpx.URL(url).copy_with(host=address, port=port, userinfo=b"", fragment=None)
        async with (
            asyncio.timeout(until - time.monotonic()),
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=SECONDS, verify=_trusted()) as client,
            client.stream("GET", target, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            if answer.is_redirect:
                return b"", answer.headers["location"]
            if answer.status_code != 200 or answer.headers.get("content-encoding", "identity") != "identity":
                raise _unreachable()
            return await _bounded(answer, limits), None
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, KeyError):
        raise _unreachable() from None


async def _bounded(answer: httpx.Response, limits: Limits) -> bytes:
    content = bytearray()
    async for piece in answer.aiter_raw(65536):
        content += piece
        if len(content) > limits.picture:
            raise too_many_bytes(limits)
    return bytes(content)


@cache
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


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
