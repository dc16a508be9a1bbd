"""Dialogues that are longer than a model reads: split at turns, cut at the end, or left out (`--long`).

A piece of a split dialogue begins with a question, keeps the system text, and shows at its front the pictures of the
turns before it, for its words may be about them.  Every answer is in exactly one piece.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import UnusableRecord
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.records import Records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.tokenization import IGNORED, Encoded

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


def pieces(
    conversation: Conversation, encode: Encode, limit: int, encoded: Encoded | None = None
) -> Iterator[Conversation]:
    """The conversation in pieces of whole exchanges, each within `limit` tokens, but of one exchange at least.

    Args:
        conversation: questions and answers in strict alternation.
        encoded: the same as ids, where that is known already.
    """
    count, whole = len(conversation.messages) // 2, encoded or encode(conversation)
    if count < 2 or len(whole.input_ids) <= limit:
        yield conversation
        return
    ends, first = _ends(conversation, whole, count), 0
    while first < count:
        last, part = first + 1, _piece(conversation, first, first + 1)
        room = limit - len(encode(part).input_ids)
        if room > 0 and (last := int(np.searchsorted(ends, ends[first] + room, "right"))) > first + 1:
            part = _piece(conversation, first, last)
            while last > first + 1 and len(encode(part).input_ids) > limit:  # pieces of words may not add up exactly
                last -= 1
                part = _piece(conversation, first, last)
        yield part
        first = max(last, first + 1)


def _ends(conversation: Conversation, encoded: Encoded, count: int) -> np.ndarray:
    """Behind which token of the whole each answer ends, int (exchanges,): at the ends of what is supervised, or, where
    these are not as many, by the answers' places in the words."""
    learnt = np.array(encoded.labels) != IGNORED
    ends = np.flatnonzero(learnt & ~np.append(learnt[1:], False)) + 1
    if len(ends) == count:
        return ends
    sizes = np.array([len(message.text) + 1 for message in conversation.messages[: 2 * count]]).reshape(count, 2).sum(1)
    return (np.cumsum(sizes) * len(learnt) // sizes.sum()).astype(np.int64)


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
        shown = tqdm(long, f"splitting {source.file}", leave=False, disable=None)  # seen by people only
        return np.array([_count(source, records, int(row), encode, limit) for row in shown], dtype=np.int32)

    counts[long] = records.kept(f"pieces-{_fingerprint(encode, limit)}", counted)
    return counts


def _count(source: DataSource, records: Records, row: int, encode: Encode, limit: int) -> int:
    from llmga.llava.datasets.mixture import conversation_of

    try:
        talk = conversation_of(source, records[row], lambda name: NO_PICTURE, np.random.default_rng(0))
        return sum(1 for _ in pieces(talk, encode, limit))
    except (UnusableRecord, UserError, UnicodeError, TypeError):
        return 1  # what is wrong is told where it is learnt from


def _fingerprint(encode: Encode, limit: int) -> str:
    """Other ones for other tokenizers and templates."""
    probe = encode(PROBE)
    return blake2b(repr((probe.input_ids, probe.labels, limit)).encode(), digest_size=8).hexdigest()
