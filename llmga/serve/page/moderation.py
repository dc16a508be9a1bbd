"""Messages that a moderation service flags are not answered (`--moderate`)."""

import os
from collections.abc import Callable
from functools import partial

import httpx

from llmga.errors import UserError

OPENAI = "https://api.openai.com/v1/moderations"
KEY = "OPENAI_API_KEY"
PATIENCE = 10  # seconds

Moderator = Callable[[str], bool]


def moderator(moderate: bool, url: str | None) -> Moderator | None:
    """`moderator(text)` tells whether the text is flagged; None where nobody is to be asked.

    Args:
        moderate: ask OpenAI.
        url: a server that answers as OpenAI's does, in its place.

    Raises:
        UserError: OpenAI is to be asked without a key.
    """
    if not (moderate or url):
        return None
    key = os.environ.get(KEY, "")
    if url is None and not key:
        raise UserError(f"--moderate asks OpenAI, which takes a key; set {KEY}, or give --moderation-url.")
    return partial(flagged, url=url or OPENAI, key=key)


def flagged(text: str, *, url: str, key: str) -> bool:
    """What the service says of a text.

    Raises:
        UserError: it does not answer; then nothing is let through.
    """
    head = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.post(url, json={"input": text}, headers=head, timeout=PATIENCE, follow_redirects=False)
        answer.raise_for_status()
        return bool(answer.json()["results"][0]["flagged"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, IndexError, TypeError):
        raise UserError("the moderation service does not answer, so no message is; try again later.") from None
