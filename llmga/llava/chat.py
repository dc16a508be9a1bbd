"""Replies of our own models: streamed, and nothing is computed twice."""

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from llmga.llava.conversation import Conversation
from llmga.llava.mllm import Mllm
from llmga.llava.planner import USUAL, Cancelled, EndedBy, Planner, never
from llmga.llava.prefixes import common_prefix
from llmga.llava.sampling import Sampling
from llmga.llava.steering import Steering
from llmga.llava.streaming import StreamDecoder
from llmga.llava.windows import fitting

__all__ = ["Chat", "Sampling"]


class Chat(Planner):
    """Replies of one of our own models; a conversation that differs rolls the cache back to the first other token."""

    steers = True
    repairs = True
    ended_by: EndedBy
    _seen: list[int]  # what each cached position stands for
    _alive: tuple[Image.Image, ...]  # keeps the ids of cached pictures from being given to others

    def __init__(self, mllm: Mllm):
        self.mllm = mllm
        self._forget()

    @property
    def context_length(self) -> int | None:
        """Tokens that the model reads at once."""
        return self.mllm.context_length

    def count(self, conversation: Conversation) -> tuple[int, int] | None:
        """Tokens that the last answer of a conversation took to read and to write; None where there is none."""
        if not conversation.messages:
            return None
        *before, answer = conversation.messages
        asked = self.mllm.encode(Conversation(tuple(before), conversation.system), open_turn=True)
        return len(asked.input_ids), len(self.mllm.tokenizer(answer.text, add_special_tokens=False)["input_ids"])

    def check(self, sampling: Sampling) -> None:
        """See whether any reply can be as `sampling` wants it.

        Raises:
            UserError: where a picture must be asked for in fewer tokens than its tags and a word take, too.
        """
        super().check(sampling)
        if sampling.picture == "always":
            Steering(self.mllm, partial(sampling.choose, random=sampling.random()), sampling.max_new_tokens)

    def repair(
        self, conversation: Conversation, sampling: Sampling = USUAL, cancelled: Cancelled = never
    ) -> Generator[str]:
        """What is to follow the last reply so that it asks for a picture in a whole generation prompt.

        A reply that broke off within a prompt goes on there; to one without a prompt, or with an empty one, the start
        tag is added.  Nothing is asked again, and the cache is kept.

        Raises:
            UserError: when there is no room for a prompt.
        """
        *earlier, reply = conversation.messages
        asked = replace(conversation, messages=tuple(earlier))
        return self._written(asked, reply.text, replace(sampling, picture="always"), cancelled)

    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Generator[str]:
        return self._written(conversation, None, sampling, cancelled)

    def _written(
        self, asked: Conversation, begun: str | None, sampling: Sampling, cancelled: Cancelled
    ) -> Generator[str]:
        """Read the prompt, then write token after token until the end marker, the limit or a cancellation.

        Args:
            begun: the answer so far, None where there is none yet.
        """
        prompt_of = partial(self._prompt, begun=begun or "")
        window, prompt = fitting(
            asked, prompt_of, self.mllm.context_length, sampling.max_new_tokens, taught_turns=self.mllm.taught_turns
        )
        written = prompt[self._length_before(window, prompt) :] if begun else []
        decoder = StreamDecoder(self.mllm.tokenizer, self.mllm.template, written)
        room = min(sampling.max_new_tokens, self.mllm.context_length - len(prompt))
        words = room // 2 if begun is None else 0  # the rest is for a picture, if one has to be asked for
        choose = self._chooser(sampling, room, words, written)
        self.ended_by = "caller"
        for index in range(room):
            if cancelled():
                break
            stale = index == 0 or self._turns_at(len(prompt))
            logits = self._feed(*(self._unread(window, prompt) if stale else (prompt[-1:], prompt[-1:])))
            token = choose(logits, room - index)
            prompt.append(token)
            if token in self.mllm.stop_ids:
                self.ended_by = "marker"
                break
            if piece := decoder.push(token):
                yield piece
            if decoder.ended:
                self.ended_by = "marker"
                return
        else:
            self.ended_by = "limit"
        if rest := decoder.close(by_marker=self.ended_by == "marker"):
            yield rest

    def _length_before(self, window: Conversation, prompt: list[int]) -> int:
        """How many tokens of the prompt come before the answer that it begins."""
        return common_prefix(self.mllm.encode(window, open_turn=True).input_ids, prompt)

    def _chooser(self, sampling: Sampling, room: int, words: int, written: list[int]) -> Callable[[Tensor, int], int]:
        """(logits, tokens left) -> the next token."""
        choose = partial(sampling.choose, random=sampling.random())
        if sampling.picture == "auto":
            return lambda logits, left: choose(logits)
        return Steering(self.mllm, choose, room, words, written).next

    def _prompt(self, conversation: Conversation, begun: str) -> list[int]:
        return self.mllm.encode(conversation, open_turn=True, begun=begun).input_ids

    def _unread(self, window: Conversation, prompt: list[int]) -> tuple[list[int], list[int], tuple[Image.Image, ...]]:
        """What the cache does not hold yet, as `_feed` takes it; at least the last token, whose logits are wanted."""
        images = window.images()
        keys = self._keys(prompt, images)
        if self._turns_at(len(prompt)):
            self._forget()
        common = min(common_prefix(self._seen, keys), len(prompt) - 1)
        if surplus := len(self._seen) - common:
            self._cache.crop(-surplus)  # a negative number counts the tokens to remove
            del self._seen[common:]
        rest = prompt[common:]
        new = rest.count(self.mllm.image_token_id) // self.mllm.tokens_per_image
        self._alive = images
        return rest, keys[common:], images[len(images) - new :]

    def _turns_at(self, length: int) -> bool:
        """Whether a sequence of this length turns its positions by other angles than the cached one."""
        short = self.mllm.backbone.short_length(self.mllm.model.config.text_config)
        return short is not None and (length > short) != (len(self._seen) > short)

    def _keys(self, prompt: list[int], images: tuple[Image.Image, ...]) -> list[int]:
        """What each cached position stands for: its token, or for a picture which one (a negative number)."""
        pictures = iter([-id(image) for image in images for _ in range(self.mllm.tokens_per_image)])
        return [next(pictures) if token == self.mllm.image_token_id else token for token in prompt]

    @torch.inference_mode()
    def _feed(self, ids: list[int], keys: list[int], images: tuple[Image.Image, ...] = ()) -> Tensor:
        """Logits (vocabulary,) after these ids, on the device, which is not waited for; the cache grows by them."""
        device = self.mllm.device
        pixels = self.mllm.pixel_values(images).to(device) if images else None
        try:
            out = self.mllm.model(
                input_ids=torch.tensor([ids]).to(device, non_blocking=True),
                pixel_values=pixels,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        except BaseException:
            self._forget()  # some layers may hold the new tokens and others not
            raise
        self._seen += keys
        logits: Tensor = out.logits[0, -1, : len(self.mllm.tokenizer)]  # rows beyond the tokenizer mean nothing
        return logits.float()

    def _forget(self) -> None:
        self._cache = DynamicCache()
        self._seen = []
        self._alive = ()
