"""What a server says instead of an answer, and what follows: a milder request, or one sentence for the person."""

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from llmga.errors import UserError
from llmga.llava.endpoint.address import Endpoint

_CLIPPED = 200  # characters of the server's words that a sentence repeats

# How servers say it.  Each was written for the wording of vLLM, SGLang, Ollama, llama.cpp and OpenAI.
TOO_LONG = re.compile(
    r"context.?(length|size|window)|maximum context|max\w*.?(model|seq\w*).?len|(too many|exceed\w*).{0,40}tokens"
    r"|(prompt|input|request) is too (long|large)|at most \d+ image",  # a server may limit the pictures of a request
    re.IGNORECASE,
)
_NO_PICTURES = re.compile(r"image|multi.?modal|vision|picture|mmproj", re.IGNORECASE)
_NO_SYSTEM = re.compile(r"system.{0,20}role|role.{0,20}system|roles must alternate", re.IGNORECASE)
_NOT_TAKEN = re.compile(
    r"support|un(known|recogni[sz]ed|expected)|extra|not (allowed|permitted|accepted|valid)", re.IGNORECASE
)
_NO_MODEL = re.compile(
    r"model.{0,80}(not (exist|found|available|loaded)|unknown|invalid)|(unknown|invalid) model|no models? loaded",
    re.IGNORECASE,
)
_LOADING = re.compile(r"loading (the )?model|model is loading", re.IGNORECASE)


class Refusal(Exception):
    """A status other than 200 before the first word.

    Attributes:
        said: the server's own words on one line, without our key; may be empty.
        retry_after: seconds that it asks to wait, if it does.
    """

    def __init__(self, status: int, said: str = "", retry_after: float | None = None):
        super().__init__(status, said)
        self.status = status
        self.said = said
        self.retry_after = retry_after

    @classmethod
    def of(cls, response: httpx.Response, body: str, endpoint: Endpoint) -> "Refusal":
        """Read from a response and its body."""
        said = response.headers["location"] if response.has_redirect_location else server_message(body, endpoint)
        return cls(response.status_code, said, _seconds(response.headers.get("retry-after")))

    @property
    def is_loading(self) -> bool:
        """Whether the server is there, and its model not yet."""
        return self.status == 503 and bool(_LOADING.search(self.said))

    @property
    def is_about_the_request(self) -> bool:
        """Whether the server refuses what is asked, not who asks or how often."""
        return 400 <= self.status < 500 and self.status not in (401, 403, 404, 408, 429)

    @property
    def is_too_long(self) -> bool:
        """Some servers answer a request that is too long with 500."""
        return self.status not in (401, 403, 404, 429) and bool(TOO_LONG.search(self.said))

    @property
    def is_about_system(self) -> bool:
        """Whether it is the system text that is refused."""
        return self.status in (400, 422, 500) and bool(_NO_SYSTEM.search(self.said))

    def names(self, option: str) -> bool:
        """Whether it is this option that the server does not take; a value out of its range is for the person."""
        named = re.search(rf"\b{option}\b", self.said)
        return self.is_about_the_request and named is not None and bool(_NOT_TAKEN.search(self.said))

    def to_user_error(self, endpoint: Endpoint, with_pictures: bool) -> UserError:
        """One sentence with the remedy."""
        said = f": {self.said}" if self.said else ""
        where = endpoint.shown
        if self.status in (401, 403):
            return endpoint.refuses_key(self.status)
        if self.is_too_long:
            return UserError(f"this message is too long for {endpoint.model!r} at {where} ({said[2:]}); shorten it.")
        if with_pictures and _NO_PICTURES.search(self.said):
            return UserError(
                f"{endpoint.model!r} at {where} does not read these pictures ({self.status}{said}); "
                "use a model that sees, or ask without a picture."
            )
        if self.is_loading:
            return UserError(
                f"{where} was still loading its model after {endpoint.timeout:g} s; ask again later, or give more time "
                "with --mllm-timeout."
            )
        if self.status == 404 or (self.is_about_the_request and _NO_MODEL.search(self.said)):
            return endpoint.lacks(self.status, said)
        if self.status in (429, 503):
            return UserError(f"{where} is too busy ({self.status}{said}); try again{self._when()}.")
        if 300 <= self.status < 400:
            return UserError(f"{where} has moved ({self.status}{said}); give its new address with --mllm-url.")
        if self.status >= 500:
            return UserError(f"{where} failed ({self.status}{said}); look at its log and ask again.")
        return UserError(f"{where} refused the request ({self.status}{said}); change what it names.")

    def _when(self) -> str:
        return " later" if self.retry_after is None else f" in {self.retry_after:.0f} s"


def server_message(body: str, endpoint: Endpoint) -> str:
    """What a server says in an error, wherever it puts it, on one clipped line and without our key."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = re.sub(r"<[^>]*>", " ", body)  # a page
    said = " ".join(_message(content).split())
    said = said.replace(endpoint.key, "…") if endpoint.key else said
    return said.rstrip(".") if len(said) <= _CLIPPED else said[:_CLIPPED] + "…"


def _message(content: object) -> str:
    """The words in {"error": {"message": "…"}}, in {"detail": [{"loc": ["body", "seed"], "msg": "…"}]} and the like."""
    if isinstance(content, list):
        return "; ".join(map(_message, content))
    if not isinstance(content, dict):
        return str(content)
    inner = next((content[name] for name in ("error", "message", "detail", "msg") if content.get(name)), None)
    place = ".".join(map(str, content.get("loc", ())))
    return json.dumps(content) if inner is None else f"{place}: {_message(inner)}".removeprefix(": ")


def _seconds(header: str | None) -> float | None:
    """A Retry-After header: seconds, or a date."""
    if not header:
        return None
    with suppress(ValueError):
        return max(0.0, float(header))
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
