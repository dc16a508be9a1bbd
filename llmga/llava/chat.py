"""A conversation that goes on: streamed answers, and nothing is computed twice."""

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from llmga.llava.conversation import Conversation
from llmga.llava.mllm import Mllm
from llmga.llava.planner import Planner, fitting
from llmga.llava.sampling import Sampling
from llmga.llava.streaming import Speech

__all__ = ["Chat", "Sampling"]


class Chat(Planner):
    """A conversation with one of our own models; an edited turn rolls the cache back to the first changed token.

    Args:
        system: the system text; None is the chat template's own.
    """

    def __init__(self, mllm: Mllm, system: str | None = None):
        super().__init__(system)
        self.mllm = mllm
        self._forget()

    def _answer(self, asked: Conversation, sampling: Sampling, cancelled: Callable[[], bool]) -> Iterator[str]:
        """Read the prompt, then write token after token until the end marker, the limit or a cancellation."""
        window, prompt = fitting(asked, self._prompt, self.mllm.context_length, sampling.max_new_tokens)
        speech = Speech(self.mllm.tokenizer, self.mllm.template)
        random, token = sampling.random(), None
        room = min(sampling.max_new_tokens, self.mllm.context_length - len(prompt))
        self.ended_by = "caller"
        for index in range(room):
            if cancelled():
                break
            logits = self._read(window, prompt) if index == 0 else self._feed([token], [token])
            token = sampling.choose(logits, random)
            if token in self.mllm.stop_ids:
                self.ended_by = "marker"
                break
            if piece := speech.push(token):
                yield piece
            if speech.ended:
                self.ended_by = "marker"
                return
        else:
            self.ended_by = "limit"
        if rest := speech.close(by_marker=token in self.mllm.stop_ids):
            yield rest

    def _prompt(self, conversation: Conversation) -> list[int]:
        return self.mllm.encode(conversation, open_turn=True).input_ids

    def _read(self, window: Conversation, prompt: list[int]) -> Tensor:
        """Feed what the cache does not hold yet; at least the last token, whose logits are wanted."""
        images = window.images()
        keys = self._keys(prompt, images)
        common = min(_common_prefix(self._seen, keys), len(prompt) - 1)
        if surplus := len(self._seen) - common:
            self._cache.crop(-surplus)  # a negative number counts the tokens to remove
            del self._seen[common:]
        rest = prompt[common:]
        new = rest.count(self.mllm.image_token_id) // self.mllm.tokens_per_image
        logits = self._feed(rest, keys[common:], images[len(images) - new :])
        self._alive = images
        return logits

    def _keys(self, prompt: list[int], images: tuple[Image.Image, ...]) -> list[int]:
        """What each cached position stands for: its token, or for a picture which one (a negative number)."""
        pictures = iter([-id(image) for image in images for _ in range(self.mllm.tokens_per_image)])
        return [next(pictures) if token == self.mllm.image_token_id else token for token in prompt]

    @torch.inference_mode()
    def _feed(self, ids: list[int], keys: list[int], images: tuple[Image.Image, ...] = ()) -> Tensor:
        """Logits (vocabulary,) after these ids, on the CPU; the cache grows by them."""
        device = self.mllm.device
        pixels = self.mllm.pixel_values(images).to(device) if images else None
        try:
            out = self.mllm.model(
                input_ids=torch.tensor([ids], device=device),
                pixel_values=pixels,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        except BaseException:
            self._forget()  # some layers may hold the new tokens and others not
            raise
        self._seen += keys
        return out.logits[0, -1, : len(self.mllm.tokenizer)].float().cpu()  # rows beyond the tokenizer mean nothing

    def _forget(self) -> None:
        self._cache = DynamicCache()
        self._seen: list[int] = []
        self._alive: tuple[Image.Image, ...] = ()  # keeps the ids of cached pictures from being given to others


def _common_prefix(left: list[int], right: list[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))
