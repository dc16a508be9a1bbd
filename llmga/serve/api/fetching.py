"""Pictures from other servers, where the host allows it: never from this machine or its network."""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from urllib.parse import urljoin, urlsplit
from weakref import WeakValueDictionary

import httpx

from llmga.serve.api.errors import ApiError
from llmga.serve.api.image_data import too_many_bytes
from llmga.serve.api.options import RequestLimits

MAX_REDIRECTS = 3
TIMEOUT = 10.0  # for everything together: name server, connections, headers, contents, redirects
AT_ONCE, PER_CLIENT = 16, 4  # fetched at the same time, of all clients and of each
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # addresses of IPv4, written in IPv6
POOL = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch")  # what hangs here holds nothing else up


class ImageFetcher:
    """Fetches the pictures that requests name, before the requests are queued."""

    def __init__(self, limits: RequestLimits):
        self.limits = limits
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def fetch(self, urls: Sequence[str], client: str) -> dict[str, bytes]:
        """Return the bytes at each address; together no more than a request may have.

        Args:
            client: Who asks; each has at most `PER_CLIENT` fetched at once.

        Raises:
            ApiError: 413 for too many bytes; 400 where one cannot be had, also within `TIMEOUT` seconds.
        """
        slot = self._slots.setdefault(client, asyncio.Semaphore(PER_CLIENT))
        tasks = {url: asyncio.ensure_future(self._fetch_one(url, slot)) for url in dict.fromkeys(urls)}
        try:
            async with asyncio.timeout(TIMEOUT):
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

    async def _fetch_one(self, url: str, slot: asyncio.Semaphore) -> bytes:
        until, loop = time.monotonic() + TIMEOUT, asyncio.get_running_loop()
        await slot.acquire()
        fetching = POOL.submit(_fetch, url, self.limits, until)

        def ended(_: Future[bytes]) -> None:  # a name server may be waited for longer than the request is
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(slot.release)

        fetching.add_done_callback(ended)
        return await asyncio.wrap_future(fetching)


def _fetch(url: str, limits: RequestLimits, until: float) -> bytes:
    """Return the bytes at an http(s) address.

    The host is resolved, every one of its addresses has to be public, and the connection goes to one that was
    looked at, so that a second answer of the name server changes nothing.  Redirects are looked at in the same way.

    Raises:
        ApiError: It says no more of a failure than that there was one.
    """
    for _ in range(MAX_REDIRECTS + 1):
        host, port, scheme = _split(url)
        address = public_address(host, port)
        content, location = asyncio.run(_get(url, host, port, scheme, address, limits, until))
        if location is None:
            return content
        url = urljoin(url, location)
    raise _unreachable()


async def _get(
    url: str, host: str, port: int, scheme: str, address: str, limits: RequestLimits, until: float
) -> tuple[bytes, str | None]:
    """Return the body, or where it is to be found instead; however slowly it comes, it ends at `until`."""
    named = host if port == (443 if scheme == "https" else 80) else f"{host}:{port}"
    headers = {"Host": named, "Accept": "image/*", "Accept-Encoding": "identity"}
    try:
        target = httpx.URL(url).copy_with(host=address, port=port, userinfo=b"", fragment=None)
        async with (
            asyncio.timeout(until - time.monotonic()),
            httpx.AsyncClient(
                trust_env=False, follow_redirects=False, timeout=TIMEOUT, verify=_ssl_context()
            ) as client,
            client.stream("GET", target, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            if answer.is_redirect:
                return b"", answer.headers["location"]
            if answer.status_code != 200 or answer.headers.get("content-encoding", "identity") != "identity":
                raise _unreachable()
            return await _read_bounded(answer, limits), None
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, KeyError):
        raise _unreachable() from None


async def _read_bounded(answer: httpx.Response, limits: RequestLimits) -> bytes:
    content = bytearray()
    async for piece in answer.aiter_raw(65536):
        content += piece
        if len(content) > limits.picture:
            raise too_many_bytes(limits)
    return bytes(content)


@cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _split(url: str) -> tuple[str, int, str]:
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
    """Return one of the host's addresses.

    Raises:
        ApiError: 400 unless all of them are public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _unreachable() from None
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise _unreachable()
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an address belongs to the internet at large, whatever it is wrapped in."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:  # given up long ago, and still routed within some networks
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _unreachable() -> ApiError:
    return ApiError(400, "the picture at the given address could not be fetched; send it as a data: URI.",
                    code="invalid_image_url")  # fmt: skip
