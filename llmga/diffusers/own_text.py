"""Pipelines that read the prompt with encoders of their own: what each is told, and how much it reads."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmga.errors import UserError

log: logging.Logger = logging.getLogger(__name__)


def tokens_of(part: str) -> Callable[[Any, str], int]:
    """Counts what the tokenizer of this name makes of a text; 0 where the pipeline was opened without it."""

    def count(pipe: Any, text: str) -> int:
        tokenizer = getattr(pipe, part)
        return 0 if tokenizer is None else len(tokenizer(text, truncation=False, verbose=False).input_ids)

    return count


def tokens_of_chat(thinking: bool) -> Callable[[Any, str], int]:
    """Counts a text as a message to a language model, with the words around it."""

    def count(pipe: Any, text: str) -> int:
        said = pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )
        return len(pipe.tokenizer(said, truncation=False, verbose=False).input_ids)

    return count


def tokens_of_description(pipe: Any, text: str) -> int:
    """Counts a text in Qwen-Image's frame, whose beginning is cut off afterwards."""
    framed = pipe.prompt_template_encode.format(text)
    whole = len(pipe.tokenizer(framed, truncation=False, verbose=False).input_ids)
    return max(0, whole - pipe.prompt_template_encode_start_idx)


def as_words(pipe: Any, negative: str) -> Mapping[str, Any]:
    """A negative prompt for a pipeline that reads it like the prompt."""
    return {"negative_prompt": negative}


def as_embeddings(pipe: Any, negative: str) -> Mapping[str, Any]:
    """A negative prompt for a pipeline that takes none in words."""
    return {"negative_prompt_embeds": pipe.encode_prompt(prompt=negative)[0]}


@dataclass(frozen=True)
class OwnText:
    """What a pipeline that reads the text itself is told.

    Attributes:
        lengths: how many tokens it may be asked to read, rising; the first that holds prompt and negative prompt is
            asked for, which is what it was trained with wherever that suffices.  Empty where it reads any number.
        tokens: pipeline, text -> how many tokens that is to the encoder that reads most.
        scale: its keyword for guidance.
        threshold: guidance above which it looks at a negative prompt.
        negative: pipeline, negative prompt -> keyword arguments; None where it takes none.
        blank: the negative prompt where none is given; None leaves that to the pipeline.
        distilled: guidance is in the weights, which know no other.
        patch: side of the square of latents that are one of its tokens, where its latents come as tokens; 0 where not.
    """

    lengths: tuple[int, ...]
    tokens: Callable[[Any, str], int]
    scale: str = "guidance_scale"
    threshold: float = 1.0
    negative: Callable[[Any, str], Mapping[str, Any]] | None = None
    blank: str | None = None
    distilled: bool = False
    patch: int = 0

    def check(self, name: str, negative: str | None, guidance: float, usual: float) -> None:
        """See that the family takes what it is given.

        Args:
            name: the family's.
            usual: its own guidance.

        Raises:
            UserError: it takes no negative prompt, or no other guidance than its own.
        """
        if negative and self.negative is None:
            why = "is distilled to paint without guidance" if self.distilled else "has its guidance in the weights"
            raise UserError(f"the negative prompt {negative[:40]!r} cannot be followed: {name} {why}; leave out "
                            "--negative-prompt, and say what there should be instead.")  # fmt: skip
        if self.distilled and guidance != usual:
            raise UserError(f"guidance scale {guidance:g} cannot be followed: {name} is distilled to paint at "
                            f"{usual:g} only; leave out --guidance-scale.")  # fmt: skip

    def arguments(self, pipe: Any, prompt: str, negative: str | None, guidance: float) -> dict[str, Any]:
        """Keyword arguments of the pipeline for checked values; what a prompt has beyond the longest is told."""
        given = {"prompt": prompt, self.scale: guidance}
        negative = self.blank if negative is None else negative
        guided = self.negative is not None and negative is not None and guidance > self.threshold
        if self.lengths:
            counts = [self.tokens(pipe, text) for text in (prompt, *([negative] if guided and negative else []))]
            most = self.lengths[-1]
            given["max_sequence_length"] = next((length for length in self.lengths if length >= max(counts)), most)
            for what, count in zip(("prompt", "negative prompt"), counts, strict=False):
                if count > most:
                    log.warning("the %s has %d tokens, of which %d are read; shorten it.", what, count, most)
        if guided:
            assert self.negative is not None and negative is not None
            given |= self.negative(pipe, negative)
        return given

    def report(self, pipe: Any, prompt: str) -> str:
        """How many tokens the prompt has, and how many of them are read; empty where it reads any number."""
        if not self.lengths:
            return ""
        count, most = self.tokens(pipe, prompt), self.lengths[-1]
        if not count:
            return ""
        return f"{count} tokens" + (f", only the first {most} are read" if count > most else "")
