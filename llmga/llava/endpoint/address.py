"""Where a server is, how it is reached, and what it calls its models."""

import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypedDict

import httpx

from llmga.errors import UserError
from llmga.llava.instructions import PLANNING

_CHAT = "/chat/completions"
_LISTED = 20  # names that a sentence may list


class _LoadingError(UserError):
    """A server that is there before its model."""


class ClientSettings(TypedDict):
    """Keywords of httpx.Client and AsyncClient."""

    headers: dict[str, str]
    timeout: httpx.Timeout
    trust_env: bool


@dataclass(frozen=True)
class Endpoint:
    """A server that speaks the OpenAI chat protocol: vLLM, SGLang, Ollama, llama.cpp and many more.

    Args:
        url: its base, such as http://localhost:8000/v1; without a path, /v1 is meant.
        model: the model's name there; None is the only one that it offers (`named`).
        key: sent as bearer token.
        connect_timeout: seconds until a connection must stand.
        timeout: seconds that it may be silent, before the first word and between two.
        system: the system text of a conversation that has none: it teaches the <gen_image> tag.  Empty sends none, for
            models that were trained on the tag.

    Raises:
        UserError: for a URL or a key that cannot be one.
    """

    url: str
    model: str | None = None
    key: str | None = field(default=None, repr=False)
    connect_timeout: float = 10.0
    timeout: float = 120.0
    system: str = field(default=PLANNING, repr=False)

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url.strip())
        except httpx.InvalidURL as problem:
            raise self._no_url(str(problem)) from None
        if url.scheme not in ("http", "https") or not url.host:
            raise self._no_url("it must begin with http:// or https:// and name a host")
        if url.port is not None and not 0 < url.port < 65536:
            raise self._no_url(f"port {url.port} is not from 1 to 65535")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise UserError("the key for --mllm-url holds characters that no key has; copy it again.")
        path = url.path.rstrip("/").removesuffix(_CHAT) or "/v1"
        object.__setattr__(self, "url", str(url.copy_with(path=path)))

    def _no_url(self, reason: str) -> UserError:
        return UserError(f"{self.url!r} is no address of a server ({reason}); use one like http://localhost:8000/v1.")

    @property
    def shown(self) -> str:
        """The URL for messages and records: without user, password and query, which are nobody's business."""
        return str(httpx.URL(self.url).copy_with(username=None, password=None, query=None, fragment=None))

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, which no proxy can reach for us."""
        host = httpx.URL(self.url).host
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    def path(self, name: str) -> httpx.URL:
        """The URL of `name` below the base."""
        base = httpx.URL(self.url)
        return base.copy_with(path=f"{base.path}/{name}")

    def client_settings(self) -> ClientSettings:
        """Keywords of an httpx client: redirects are told, not followed; silence is watched by the reader."""
        return {
            "headers": {"Authorization": f"Bearer {self.key}"} if self.key else {},
            "timeout": httpx.Timeout(self.timeout, connect=self.connect_timeout),
            "trust_env": not self.is_local,
        }

    def named(self) -> "Endpoint":
        """With a model: the given one, else the only one on offer.  Tells at once when nobody answers.

        Raises:
            UserError: also when it offers none or several.
        """
        try:
            offered = self.models()
        except _LoadingError:
            if self.model is None:
                raise
            return self  # whose first answer is waited for
        if self.model is not None:
            return self
        if len(offered) == 1:
            return replace(self, model=offered[0])
        some = ", ".join(offered[:_LISTED])
        raise UserError(
            f"{self.shown} offers {f'several models ({some})' if offered else 'no list of models'}; "
            "name the one to use with --mllm-model."
        )

    def models(self) -> list[str]:
        """The names that it offers, empty when it does not tell.

        Raises:
            UserError: when it cannot be reached, refuses the key or is loading its model.
        """
        with connection_errors(self), httpx.Client(**self.client_settings()) as client:
            response = client.get(self.path("models"))
        if response.status_code in (401, 403):
            raise self.refuses_key(response.status_code)
        if response.status_code == 503 and "loading" in response.text.lower():
            raise _LoadingError(
                f"{self.shown} is still loading its model; ask again when it is ready, or name it with --mllm-model."
            )
        try:
            return [str(model["id"]) for model in response.json()["data"]] if response.is_success else []
        except (ValueError, KeyError, TypeError):
            return []

    def refuses_key(self, status: int) -> UserError:
        """What to say when it does not take our key, or wants one."""
        remedy = "give one with --mllm-key or in LLMGA_API_KEY" if self.key is None else "check it and what it allows"
        return UserError(f"{self.shown} {'refuses the' if self.key else 'asks for a'} key ({status}); {remedy}.")

    def lacks(self, status: int, said: str) -> UserError:
        """What to say when it does not find the model or the path: which models it offers."""
        offered = self._offered_if_any()
        if offered and self.model not in offered:
            some = ", ".join(offered[:_LISTED])
            return UserError(f"{self.shown} has no model {self.model!r}; it offers {some}, choose with --mllm-model.")
        if re.search(r"\bmodel", said, re.IGNORECASE):
            return UserError(
                f"{self.shown} has no model {self.model!r} ({status}{said}); fetch or load it there, or choose another "
                "with --mllm-model."
            )
        return UserError(
            f"{self.shown} has no chat ({status}{said}); give the base of its OpenAI interface, mostly ending in /v1."
        )

    def _offered_if_any(self) -> list[str]:
        try:
            return self.models()
        except UserError:
            return []


@contextmanager
def connection_errors(endpoint: Endpoint) -> Iterator[None]:
    """A connection that fails is one sentence.

    Raises:
        UserError: with what stood in the way, and the remedy.
    """
    try:
        yield
    except TimeoutError:
        raise _silent(endpoint) from None
    except httpx.ConnectTimeout:
        raise UserError(
            f"{endpoint.shown} did not answer the connection within {endpoint.connect_timeout:g} s; "
            "check host and port, or give more time with --mllm-connect-timeout."
        ) from None
    except httpx.TimeoutException:
        raise _silent(endpoint) from None
    except httpx.ConnectError as problem:
        raise UserError(f"{endpoint.shown} cannot be reached: {_reason(problem)}.") from None
    except (httpx.TransportError, httpx.DecodingError) as problem:
        reason = str(problem) or type(problem).__name__
        raise UserError(f"{endpoint.shown} broke off its answer ({reason}); look at its log and ask again.") from None
    except (ImportError, ValueError, httpx.InvalidURL) as problem:
        if isinstance(problem, UserError):
            raise
        raise UserError(
            f"{endpoint.shown} cannot be asked through the proxy that the environment names ({problem}); "
            "unset it, or add the host to NO_PROXY."
        ) from None


def _silent(endpoint: Endpoint) -> UserError:
    return UserError(
        f"{endpoint.shown} was silent for {endpoint.timeout:g} s; look at its log, or give more time with "
        "--mllm-timeout."
    )


def _reason(problem: BaseException) -> str:
    """What stood in the way, from the causes of an error, with the remedy."""
    found = list(_causes(problem))
    if any(isinstance(cause, socket.gaierror) for cause in found):
        return "its host name is unknown; check the spelling and the network"
    if any(isinstance(cause, ssl.SSLError) for cause in found):
        return "it does not speak https with a certificate that is trusted here; check the port, or use http://"
    if any(isinstance(cause, ConnectionRefusedError) for cause in found):
        return "nothing listens there; start the server, or check host and port"
    return f"{problem}; check host, port and network"


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        if isinstance(problem, BaseExceptionGroup):
            for inner in problem.exceptions:
                yield from _causes(inner)
        problem = problem.__cause__ or problem.__context__
