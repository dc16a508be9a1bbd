"""Who may ask: API keys, compared in constant time, and the name under which a client queues."""

import base64
import hashlib
import hmac
import ipaddress
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from llmga.errors import UserError
from llmga.serve.api.errors import ApiError
from llmga.serve.keys.store import KeyStore, StoredKey

SDAPI = "/sdapi/v1"
ADMIN = "/v1/admin"
PAGE = "/page"  # where a web page may be beside the API; it asks for the key itself
OPEN = "/health"  # of which everybody may know
SHORTEST = 8
bearer: HTTPBearer = HTTPBearer(
    auto_error=False, description="One of the server's API keys, where it was started with any."
)


class ApiKeys:
    """The keys that a server accepts; without any it is open to everybody who reaches it.

    Only digests are kept, so a key can neither be logged nor told apart by the time that a comparison takes.

    Args:
        keys: In clear text, at least `SHORTEST` characters each.
        store: Further ones, with quotas; a server with a store is open to nobody without a key.

    Raises:
        UserError: A key is too short.
    """

    def __init__(self, keys: Iterable[str] = (), store: KeyStore | None = None):
        self._digests = [_digest(_long_enough(key)) for key in keys]
        self.store = store

    def __bool__(self) -> bool:
        return bool(self._digests) or self.store is not None

    @classmethod
    def read(cls, file: str | None, variable: str | None, store: str | None = None) -> "ApiKeys":
        """Read the keys of a file and of the environment.

        Args:
            file: A text file with one key a line; empty lines and those that begin with # are passed over.
            variable: Keys separated by commas.
            store: A file of `llmga keys`.

        Raises:
            UserError: A file cannot be read or holds no key, or a key is too short.
        """
        keys = [key.strip() for key in (variable or "").split(",") if key.strip()]
        keys = keys if file is None else keys + _keys_of(file)
        return cls(keys, None if store is None else KeyStore(store))

    def client_name(self, request: HTTPConnection) -> str:
        """Return who asks, as a name that gives nothing away: part of the key's digest, its id, or the address.

        Raises:
            ApiError: As `client`.
        """
        return self.client(request)[0]

    def client(self, request: HTTPConnection) -> tuple[str, StoredKey | None]:
        """Return the name of who asks, and the key where it is one of the store.

        Raises:
            ApiError: 401 for a wrong key or none; 503 where the store cannot be read.
        """
        if not self:
            return request.client.host if request.client else "unknown", None
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic" and request.scope["path"].startswith(SDAPI):
            kind, key = "bearer", _password(key)  # all that clients of these paths know
        key = key.strip() if kind.lower() == "bearer" else ""
        if self._knows(key):
            return "key-" + _digest(key).hex()[:8], None
        if (stored := self._stored(key)) is not None:
            return f"key-{stored.id}", stored
        raise ApiError(401, "no valid API key was given; send it as 'Authorization: Bearer KEY'.",
                       code="invalid_api_key")  # fmt: skip

    def accept(self, key: str) -> bool:
        """Return whether this is one of the keys.

        Raises:
            ApiError: 503 where the store cannot be read.
        """
        return self._knows(key) or self._stored(key) is not None

    def _knows(self, key: str) -> bool:
        given = _digest(key)
        return any([hmac.compare_digest(given, known) for known in self._digests])  # all, whichever fits

    def _stored(self, key: str) -> StoredKey | None:
        try:
            return None if self.store is None else self.store.find(key)
        except sqlite3.Error:
            raise ApiError(503, "keys cannot be looked up just now; try again in a moment.", code="busy",
                           retry_after=5) from None  # fmt: skip


class AuthMiddleware:
    """ASGI middleware that checks keys, hosts and origins before anything of a request is read.

    Keys are asked for under /v1 and /sdapi only; it sets `request.state.client` and `request.state.key` there.
    Starlette's `TrustedHostMiddleware` knows no networks (127.0.0.0/8), no open paths, and answers in plain text.

    Args:
        local: Only this machine reaches the server.  A request under another name than this machine's then comes from
            a web page whose name server sends browsers here, and is refused where no key is asked for.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys, local: bool = False):
        self.app = app
        self.keys = keys
        self.local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != OPEN:
            try:
                self._check(HTTPConnection(scope), scope["path"])
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, connection: HTTPConnection, path: str) -> None:
        guarded = is_guarded(path) or path.startswith(PAGE)
        if self.local and not (guarded and self.keys) and not is_local(requested_host(connection)):
            raise ApiError(403, "this server answers under names of this machine only.", code="foreign_host")
        if guarded and not self.keys and is_cross_site(connection):
            raise ApiError(403, "without API keys, pages of other sites may send nothing here.", code="foreign_site")
        if is_guarded(path):
            name, key = self.keys.client(connection)
            connection.state.client, connection.state.key = name, key
            if path.startswith(ADMIN) and not (key and key.admin):
                raise ApiError(403, "this takes a key of an administrator; make one with llmga keys add NAME --admin, "
                               "and start the server with --keys.", code="no_admin_key")  # fmt: skip


def is_guarded(path: str) -> bool:
    """Return whether a key is asked for at a path, where there are any."""
    return path.startswith(("/v1", SDAPI))


def is_cross_site(connection: HTTPConnection) -> bool:
    """Return whether a browser sends this for a page of another site, as a form can without asking anybody.

    Browsers tell in Sec-Fetch-Site, older ones by an Origin that is not the address asked; programs send neither.
    """
    if connection.scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return False
    if site := connection.headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = connection.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != connection.headers.get("host")


def requested_host(connection: HTTPConnection) -> str:
    """Return the name under which the server was asked; empty where the header is none that could be read.

    Starlette's own URL falls back on the server's address then, which must not be taken for the name.
    """
    host = connection.headers.get("host", "localhost")  # HTTP/1.0 asks without, browsers never
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_local(host: str) -> bool:
    """Return whether only this machine is reached under this name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _keys_of(file: str) -> list[str]:
    """Return the keys in a file; raises UserError when it cannot be read, holds none, or one that is too short."""
    try:
        lines = Path(file).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"--api-keys-file {file!r} cannot be read; give a text file, one key a line.") from None
    found = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    told = f"--api-keys-file {file!r}"
    keys = [_long_enough(key, f"line {number} of {told}: ") for number, key in found if key and not key.startswith("#")]
    if not keys:
        raise UserError(f"{told} holds no key; write one a line, or leave the flag out.")
    return keys


def _long_enough(key: str, place: str = "") -> str:
    if len(key) < SHORTEST:
        raise UserError(f"{place}an API key has {len(key)} characters; use at least {SHORTEST}.")
    return key


def _password(credentials: str) -> str:
    """Return the password of HTTP's basic credentials; empty where they cannot be read."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
