"""Ids -> text, piece by piece, while they are being written."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from llmga.llava.templates import ChatTemplate
from llmga.llava.tokenization import decode

_UNFINISHED = "\ufffd"  # what a tokenizer shows for the first bytes of a character


class StreamDecoder:
    """One answer: valid text as soon as possible, never an end marker.

    Args:
        template: its `reply_tail` ends the answer when it is written as ordinary text, too.
        begun: the ids of an answer that goes on; their text is known.

    Attributes:
        ended: the end marker was written out.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate, begun: Sequence[int] = ()):
        self._tokenizer, self._head, self._tail = tokenizer, template.reply_head, template.reply_tail
        self.ended: bool = False
        self._ids = list(begun)
        self._context = 0  # decoding starts here, because a token's text depends on the token before it
        self._told = len(self._ids)  # ids whose text is in _held or given out
        self._held = ""  # may be the beginning of the end marker

    def push(self, token: int) -> str:
        """The text that one more token makes certain, often none."""
        self._ids.append(token)
        self._held += self._decoded(final=False)
        ready, marker, _ = self._held.partition(self._tail)
        self.ended = bool(marker)
        ready = ready if self.ended else without_partial(self._held, self._tail)
        self._held = "" if self.ended else self._held[len(ready) :]
        return ready

    def close(self, by_marker: bool) -> str:
        """The rest.

        Args:
            by_marker: a stop token ended the answer, so a space that belongs to the end marker is not part of it.
        """
        rest = self._held + self._decoded(final=True).rstrip(_UNFINISHED)
        space_before_marker = self._tail[: len(self._tail) - len(self._tail.lstrip())]
        return rest.removesuffix(space_before_marker) if by_marker else rest

    def _decoded(self, final: bool) -> str:
        known = decode(self._ids[self._context : self._told], self._tokenizer)
        text = decode(self._ids[self._context :], self._tokenizer)
        if text.endswith(_UNFINISHED) and not final:
            return ""
        first = self._told == 0
        self._context, self._told = self._told, len(self._ids)
        new = text[len(known) :]
        return new.removeprefix(self._head) if first else new


def without_partial(text: str, tag: str) -> str:
    """The text without the longest ending that the tag begins with: it may yet become the tag."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:length]):
            return text[:-length]
    return text
