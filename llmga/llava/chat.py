"""A conversation that goes on: streamed answers, and nothing is computed twice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.generation_prompt import GenerationPrompt, canonical, parse
from llmga.llava.mllm import Mllm
from llmga.llava.sampling import Sampling
from llmga.llava.steering import Steering
from llmga.llava.streaming import Speech


class Chat:
    """One person's conversation with a model.

    Attributes:
        conversation: everything said so far, answers with their <gen_image> tags spelt as in training and without end
            markers.  It may be replaced (to take a turn back): the next answer follows it.
        ended_by: what ended the last answer: "marker" (the model itself), "limit" (it was cut) or "caller".
    """

    def __init__(self, mllm: Mllm, system: str | None = None):
        self.mllm = mllm
        self.conversation = Conversation(system=system)
        self.ended_by: Literal["marker", "limit", "caller"] = "marker"
        self._forget()

    def say(
        self,
        text: str,
        images: Sequence[Image.Image] = (),
        sampling: Sampling = Sampling(),
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[str]:
        """Answer, in pieces of text.

        When the caller stops (`cancelled`, closing the iterator, Ctrl-C), what was said until then is in the history
        and the turn is closed.  A turn that fails before its first word leaves no trace.

        Args:
            images: pictures that belong to this message.
            cancelled: asked before every token.

        Raises: UserError when this turn alone is too long for the model.
        """
        asked = _settled(self.conversation).say("user", _words(text, len(images)), tuple(images))
        yield from self._reply(asked, None, sampling, cancelled)

    def edit(
        self,
        turn: int,
        text: str | None = None,
        images: Sequence[Image.Image] | None = None,
        sampling: Sampling = Sampling(),
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[str]:
        """Answer anew a message of the user, worded otherwise or not; what was said after it is forgotten.

        The cache is rolled back to the first changed token, not rebuilt.  An edit that fails before its first word
        leaves the conversation as it was.

        Args:
            turn: which of the user's messages: 0 is the first, -1 the last.
            text, images: None keeps what the message had.

        Raises: UserError when there is no such message, or it is too long.
        """
        before = self.conversation
        asked = [index for index, message in enumerate(before.messages) if message.role == "user"]
        if not -len(asked) <= turn < len(asked):
            raise UserError(
                f"turn {turn} does not exist, the conversation has {len(asked)}; use 0 to {len(asked) - 1}."
            )
        old = before.messages[asked[turn]]
        pictures = old.images if images is None else images
        self.conversation = earlier = replace(before, messages=before.messages[: asked[turn]])
        try:
            yield from self.say(old.text if text is None else text, pictures, sampling, cancelled)
        finally:
            if self.conversation is earlier:
                self.conversation = before

    def regenerate(self, sampling: Sampling = Sampling(), cancelled: Callable[[], bool] | None = None) -> Iterator[str]:
        """Answer the last message again.  Raises: UserError when there is none."""
        yield from self.edit(-1, sampling=sampling, cancelled=cancelled)

    def repair(self, sampling: Sampling = Sampling(), cancelled: Callable[[], bool] | None = None) -> Iterator[str]:
        """Go on with the last answer until it asks for a picture in a whole generation prompt.

        An answer that broke off within a prompt goes on there; to one without a prompt, or with an empty one, the start
        tag is added.  The pieces continue the text that the history has, and so does the history: the turn stays one
        turn, nothing is asked again, and the cache is kept.  An answer with nothing to repair is left as it is.

        Raises: UserError when there is no answer, or no room for a prompt.
        """
        if not self.conversation.messages or self.conversation.messages[-1].role != "assistant":
            raise UserError("there is no answer to repair; say something first.")
        *earlier, answer = self.conversation.messages
        begun = canonical(answer.text)
        if _lacks_picture(begun):
            asked = replace(self.conversation, messages=tuple(earlier))
            yield from self._reply(asked, begun, replace(sampling, picture="always"), cancelled)

    def _reply(
        self, asked: Conversation, begun: str | None, sampling: Sampling, cancelled: Callable[[], bool] | None
    ) -> Iterator[str]:
        """Answer in pieces and keep the history; `begun` is the answer so far, None where there is none yet."""
        said = begun or ""
        window, prompt = self._fitting(asked, sampling, said)
        for piece in self._answer(window, prompt, begun, sampling, cancelled or _never):
            said += piece
            self.conversation = asked.say("assistant", _words(said, 0))
            yield piece
        self.conversation = asked.say("assistant", canonical(_words(said, 0)))

    def _fitting(self, asked: Conversation, sampling: Sampling, begun: str) -> tuple[Conversation, list[int]]:
        """The latest turns that leave room for an answer, and their ids; the oldest pairs go first."""
        context = self.mllm.context_length
        room = min(sampling.max_new_tokens, context // 2)
        while True:
            prompt = self.mllm.encode(asked, open_turn=True, begun=begun).input_ids
            if len(prompt) + room <= context:
                return asked, prompt
            if len(asked.messages) < 3:
                break
            asked = replace(asked, messages=asked.messages[2:])
        if len(prompt) >= context:
            raise UserError(
                f"this message takes {len(prompt)} tokens, the model reads at most {context} with its answer; "
                "shorten it or attach fewer pictures."
            )
        return asked, prompt

    def _answer(
        self,
        window: Conversation,
        prompt: list[int],
        begun: str | None,
        sampling: Sampling,
        cancelled: Callable[[], bool],
    ) -> Iterator[str]:
        """Read the prompt, then write token after token until the end marker, the limit or a cancellation."""
        written = prompt[self._length_before(window, prompt) :] if begun else []
        speech = Speech(self.mllm.tokenizer, self.mllm.template, written)
        room = min(sampling.max_new_tokens, self.mllm.context_length - len(prompt))
        words = room // 2 if begun is None else 0  # the rest is for a picture, if one has to be asked for
        choose, token = self._chooser(sampling, room, words, written), None
        self.ended_by = "caller"
        for index in range(room):
            if cancelled():
                break
            logits = self._read(window, prompt) if index == 0 else self._feed([token], [token])
            token = choose(logits, room - index)
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

    def _length_before(self, window: Conversation, prompt: list[int]) -> int:
        """How many tokens of the prompt come before the answer that it begins."""
        return _common_prefix(self.mllm.encode(window, open_turn=True).input_ids, prompt)

    def _chooser(self, sampling: Sampling, room: int, words: int, written: list[int]) -> Callable[[Tensor, int], int]:
        """(logits, tokens left) -> the next token."""
        choose = partial(sampling.choose, random=sampling.random())
        if sampling.picture == "auto":
            return lambda logits, left: choose(logits)
        return Steering(self.mllm, choose, room, words, written).next

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


def _never() -> bool:
    return False


def _settled(conversation: Conversation) -> Conversation:
    """With every answer's prompts closed and their tags spelt as in training, for the model to read."""
    told = (
        replace(message, text=canonical(message.text, closed=True)) if message.role == "assistant" else message
        for message in conversation.messages
    )
    return replace(conversation, messages=tuple(told))


def _lacks_picture(answer: str) -> bool:
    """Whether it has no generation prompt, or one that is not closed."""
    prompts = [event for event in parse([answer]) if isinstance(event, GenerationPrompt)]
    return not all(prompt.closed for prompt in prompts) or not prompts


def _words(text: str, pictures: int) -> str:
    """The text, in which "<image>" that stands for no picture is made ordinary words."""
    return text if text.count(IMAGE_MARKER) <= pictures else text.replace(IMAGE_MARKER, "<image >")


def _common_prefix(left: list[int], right: list[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))
