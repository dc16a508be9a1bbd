"""A conversation that goes on: streamed answers, and nothing is computed twice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.mllm import Mllm
from llmga.llava.streaming import Speech

_HOTTEST = 5.0
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the likeliest token; up to 5.
        top_p: only the likeliest tokens that together reach this probability are considered; above 0, up to 1.
        max_new_tokens: the longest answer, at least 1.
        seed: the same seed gives the same answer; None draws another one each time.

    Raises: UserError for a value out of its range.
    """

    temperature: float = 0.2
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= _HOTTEST:
            raise UserError(f"temperature {self.temperature} is out of range; use 0 (greedy) to {_HOTTEST:g}.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p {self.top_p} is out of range; use a value above 0, up to 1.")
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens {self.max_new_tokens} is out of range; use at least 1.")
        if self.seed is not None and not 0 <= self.seed <= _LARGEST_SEED:
            raise UserError(f"seed {self.seed} is out of range; use 0 to {_LARGEST_SEED}.")

    def random(self) -> torch.Generator:
        """A source on the CPU, so that every device draws the same numbers."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
            return generator
        return generator.manual_seed(self.seed)

    def choose(self, logits: Tensor, random: torch.Generator) -> int:
        """The next token from its logits (vocabulary,)."""
        if self.temperature == 0:
            return int(logits.argmax())
        probabilities = ((logits - logits.max()) / self.temperature).softmax(-1)
        likeliest, tokens = probabilities.sort(descending=True, stable=True)
        before = likeliest.cumsum(-1) - likeliest
        likeliest = likeliest.masked_fill(before >= self.top_p, 0.0)
        return int(tokens[torch.multinomial(likeliest, 1, generator=random)])


class Chat:
    """One person's conversation with a model.

    Attributes:
        conversation: everything said so far, answers with their <gen_image> tags and without end markers.  It may be
            replaced (to take a turn back): the next answer follows it.
    """

    def __init__(self, mllm: Mllm, system: str | None = None):
        self.mllm = mllm
        self.conversation = Conversation(system=system)
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
        asked = self.conversation.say("user", _words(text, len(images)), tuple(images))
        window, prompt = self._fitting(asked, sampling)
        said = ""
        for piece in self._answer(window, prompt, sampling, cancelled or _never):
            said += piece
            self.conversation = asked.say("assistant", _words(said, 0))
            yield piece
        self.conversation = asked.say("assistant", _words(said, 0))

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

    def _fitting(self, asked: Conversation, sampling: Sampling) -> tuple[Conversation, list[int]]:
        """The latest turns that leave room for an answer, and their ids; the oldest pairs go first."""
        context = self.mllm.context_length
        room = min(sampling.max_new_tokens, context // 2)
        while True:
            prompt = self.mllm.encode(asked, open_turn=True).input_ids
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
        self, window: Conversation, prompt: list[int], sampling: Sampling, cancelled: Callable[[], bool]
    ) -> Iterator[str]:
        """Read the prompt, then write token after token until the end marker, the limit or a cancellation."""
        speech = Speech(self.mllm.tokenizer, self.mllm.template)
        random, token = sampling.random(), None
        room = min(sampling.max_new_tokens, self.mllm.context_length - len(prompt))
        for index in range(room):
            if cancelled():
                break
            logits = self._read(window, prompt) if index == 0 else self._feed([token], [token])
            token = sampling.choose(logits, random)
            if token in self.mllm.stop_ids:
                break
            if piece := speech.push(token):
                yield piece
            if speech.ended:
                return
        if rest := speech.close(by_marker=token in self.mllm.stop_ids):
            yield rest

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


def _words(text: str, pictures: int) -> str:
    """The text, in which "<image>" that stands for no picture is made ordinary words."""
    return text if text.count(IMAGE_MARKER) <= pictures else text.replace(IMAGE_MARKER, "<image >")


def _common_prefix(left: list[int], right: list[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))
