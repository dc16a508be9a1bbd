"""Dialogues that are longer than a model reads: split at turns, cut at the end, or left out (`--long`).

A piece of a split dialogue begins with a question, keeps the system text, and shows at its front the pictures of the
turns before it, for its words may be about them.  Every answer is in exactly one piece.
"""

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Literal

import numpy as np
from PIL import Image

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import UnusableRecord
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.records import Records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.tokenization import Encoded

Long = Literal["split", "cut", "drop"]
Encode = Callable[[Conversation], Encoded]
# What a record has of tokens at most, roughly; one that has more nevertheless is cut.
BYTES_PER_TOKEN, TOKENS_AROUND_A_TURN, TOKENS_OF_A_SYSTEM_TEXT = 2, 8, 64
NO_PICTURE = Image.new("RGB", (1, 1))
# A dialogue that tokenizers and templates write differently.
PROBE = (
    Conversation()
    .say("user", "<image>\nWhat's  this?\n\tÄ 猫 1234", (NO_PICTURE,))
    .say("assistant", "<gen_image> A cat, 5 years </gen_image>")
    .say("user", "ok")
    .say("assistant", "def f(x): return 'antidisestablishmentarianism'")
)


def pieces(conversation: Conversation, encode: Encode, limit: int) -> list[Conversation]:
    """The conversation in pieces of whole exchanges, each as long as fits `limit` tokens, with at least one exchange.

    Args:
        conversation: questions and answers in strict alternation.
    """
    count = len(conversation.messages) // 2

    def fits(first: int, last: int) -> bool:
        return len(encode(_piece(conversation, first, last)).input_ids) <= limit

    if count < 2 or fits(0, count):
        return [conversation]
    found, first = [], 0
    while first < count:
        low, high = first + 1, count  # the last one that fits is in [low, high]
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(first, middle) else (low, middle - 1)
        found.append(_piece(conversation, first, low))
        first = low
    return found


def _piece(conversation: Conversation, first: int, last: int) -> Conversation:
    """Some exchanges, [first, last), with the pictures of those before."""
    before, messages = conversation.messages[: 2 * first], conversation.messages[2 * first : 2 * last]
    if shown := tuple(image for message in before for image in message.images):
        messages = (replace(messages[0], images=(*shown, *messages[0].images)), *messages[1:])
    return replace(conversation, messages=messages)


def plan(source: DataSource, records: Records, encode: Encode, *, limit: int, tokens_per_image: int) -> np.ndarray:
    """Into how many pieces each record is split, int32 (records,); found once and then kept beside their index."""
    counts = np.ones(len(records), dtype=np.int32)
    if "conversations" not in KINDS[source.kind].fields:
        return counts
    tokens = records.word_bytes() // BYTES_PER_TOKEN + records.pictures().astype(np.int64) * tokens_per_image
    tokens += records.turns().astype(np.int64) * TOKENS_AROUND_A_TURN + TOKENS_OF_A_SYSTEM_TEXT
    if not len(long := np.flatnonzero(tokens > limit)):
        return counts

    def counted() -> np.ndarray:
        return np.array([_count(source, records, int(row), encode, limit) for row in long], dtype=np.int32)

    counts[long] = records.kept(f"pieces-{_fingerprint(encode, limit)}", counted)
    return counts


def _count(source: DataSource, records: Records, row: int, encode: Encode, limit: int) -> int:
    from llmga.llava.datasets.mixture import conversation_of

    try:
        talk = conversation_of(source, records[row], lambda name: NO_PICTURE, np.random.default_rng(0))
        return len(pieces(talk, encode, limit))
    except (UnusableRecord, UserError, UnicodeError, TypeError):
        return 1  # what is wrong is told where it is learnt from


def _fingerprint(encode: Encode, limit: int) -> str:
    """Other ones for other tokenizers and templates."""
    probe = encode(PROBE)
    return blake2b(repr((probe.input_ids, probe.labels, limit)).encode(), digest_size=8).hexdigest()
