"""A reply that must ask for a picture: the model chooses the words, and the form is seen to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmga.errors import UserError
from llmga.llava.generation_prompt import END, START, GenerationPromptParser
from llmga.llava.templates import ChatTemplate
from llmga.llava.tokenization import decode


class Speaker(Protocol):
    """What a model's words are made of: our own models, and anybody's."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Text to ids and back."""

    @property
    def template(self) -> ChatTemplate:
        """What stands around a reply."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end a reply."""


_BEFORE = "x"  # a tag is tokenised as it stands after a word


@dataclass(frozen=True)
class ReplyState:
    """Where a reply stands.

    Attributes:
        text: all of it.
        parser: which has read it.
    """

    text: str
    parser: GenerationPromptParser

    @property
    def silent(self) -> bool:
        """No prompt, and none begun."""
        return self.parser.prompt is None and not self.parser.found

    @property
    def empty(self) -> bool:
        """In a prompt without a visible character."""
        return self.parser.prompt is not None and not self.parser.started

    @property
    def writing(self) -> bool:
        """In a prompt with a visible character."""
        return self.parser.started


class Steering:
    """Chooses the tokens of one reply so that it has at least one prompt, and every prompt is closed and not empty.

    * The model speaks freely; where the reply would end without a prompt, or after `words` tokens, the start tag is
      written for it.
    * Within a prompt, neither a tag nor the end of the reply is accepted before the first visible character.
    * Where the reply would end within a prompt, or its last tokens are needed, the end tag is written.

    What would go against it is refused and chosen again among the other tokens, so temperature and top-p keep their
    meaning.

    Args:
        model: who writes.
        choose: logits (vocabulary,) -> token.
        room: how many tokens the reply may take.
        words: how many of them may come before the start tag.
        begun: the ids of a reply that goes on.

    Raises:
        UserError: when `room` does not hold the tags and a word.
    """

    def __init__(
        self, model: Speaker, choose: Callable[[Tensor], int], room: int, words: int = 0, begun: Sequence[int] = ()
    ):
        self._tokenizer, self._template, self._stop_ids = model.tokenizer, model.template, model.stop_ids
        self._choose = choose
        self._ids = list(begun)
        self._planned: list[int] = []
        self._looked: tuple[list[int], ReplyState] | None = None
        self._for_end = max(len(self._tokens(gap + END)) for gap in ("", " "))
        for_start = max(len(self._tokens(gap + START)) for gap in ("", " "))
        self._for_all = for_start + 1 + self._for_end
        self._latest = max(self._for_all, room - words)
        if room < (needed := self._needed(self._after())):
            raise UserError(
                f"this answer may take {room} tokens, but a generation prompt takes at least {needed}; "
                "raise max_new_tokens (--max-new-tokens), or start anew where the conversation has become long."
            )

    def next(self, logits: Tensor, left: int) -> int:
        """The next token.

        Args:
            logits: (vocabulary,).
            left: how many tokens may still be written, this one included.
        """
        self._planned = self._planned or self._plan(logits, left)
        token = self._planned.pop(0)
        self._ids.append(token)
        return token

    def _plan(self, logits: Tensor, left: int) -> list[int]:
        now = self._after()
        if now.writing and left <= self._for_end:
            return self._tag(END)
        if now.silent and left <= self._latest:
            return self._tag(START)
        token = self._accepted(logits, now, left)
        if not self._ends(token):
            return [token]
        if now.writing:
            return [*self._tag(END), *({token} & self._stop_ids)]
        return self._tag(START) if now.silent else [token]

    def _accepted(self, logits: Tensor, now: ReplyState, left: int) -> int:
        logits = logits.clone()
        while not self._accepts(token := self._choose(logits), now, left):
            logits[token] = -torch.inf
        return token

    def _accepts(self, token: int, now: ReplyState, left: int) -> bool:
        then = self._after(token)
        if self._ends(token):
            return not now.empty
        if now.empty and (then.parser.prompt is None or then.parser.held):
            return False  # a tag, or the beginning of one
        return left - 1 >= self._needed(then)

    def _needed(self, state: ReplyState) -> int:
        """The fewest tokens that complete a reply from here."""
        if state.silent:
            return self._for_all
        return self._for_end * (state.writing or state.empty) + state.empty

    def _tag(self, tag: str) -> list[int]:
        """The ids that write the tag, or the rest of it where the model has begun it."""
        now = self._after()
        gap = "" if now.text[-1:].isspace() else " "
        whole = self._tokens((gap if now.text else self._template.reply_head) + tag)
        held = now.parser.held
        if not held or not tag.startswith(held):
            return whole
        rest = self._tokens(tag.removeprefix(held), held)
        then = self._after(*rest).parser
        written = then.prompt is None and not then.held if tag == END else then.prompt == ""
        return rest if written and len(rest) <= len(whole) else whole

    def _tokens(self, text: str, before: str = _BEFORE) -> list[int]:
        """The ids of a text as it stands after another."""
        head, whole, alone = self._tokenizer([before, before + text, text], add_special_tokens=False)["input_ids"]
        ids: list[int] = alone if whole[: len(head)] != head else whole[len(head) :]
        return ids

    def _ends(self, token: int) -> bool:
        return token in self._stop_ids or self._template.reply_tail in self._after(token).text

    def _after(self, *tokens: int) -> ReplyState:
        """Where the reply stands after these tokens more."""
        ids = [*self._ids, *tokens]
        if self._looked is None or self._looked[0] != ids:
            self._looked = ids, self._state(ids)
        return self._looked[1]

    def _state(self, ids: list[int]) -> ReplyState:
        text = decode(ids, self._tokenizer)
        parser = GenerationPromptParser()
        list(parser.feed(text))
        return ReplyState(text, parser)
