"""A pipeline's prompts: encoded once each, and a report of how they were cut."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from llmga.diffusers.long_prompt import LAYOUTS, PromptEmbeddings, encode_prompt, encode_texts, tokens_per_chunk

REMEMBERED = 32  # an SDXL prompt of three chunks takes about 2 MB in half precision, both sides


@dataclass(frozen=True)
class TokenReport:
    """How a prompt was cut.

    Attributes:
        chunks: tokens in each chunk of at most 75, such as (75, 23).
    """

    chunks: tuple[int, ...]

    @property
    def total(self) -> int:
        """Tokens of the whole prompt."""
        return sum(self.chunks)

    def __str__(self) -> str:
        if len(self.chunks) == 1:
            return f"{self.total} tokens"
        return f"{self.total} tokens in {len(self.chunks)} chunks ({' + '.join(map(str, self.chunks))})"


class PromptEncoder:
    """Prompt and negative prompt to embeddings; the latest ones are remembered.

    Args:
        parts: a diffusers pipeline, or anything with its tokenizers, text encoders and `config`.
        layout: a row of `LAYOUTS`.
        weighted: brackets are weights instead of text.
    """

    def __init__(self, parts: Any, layout: str = "joined", *, weighted: bool = False):
        LAYOUTS[layout]
        self.parts = parts
        self.layout = layout
        self.weighted = weighted
        self._known: OrderedDict[tuple[str, str | None, bool, bool, int], PromptEmbeddings] = OrderedDict()

    def __call__(
        self,
        prompt: str,
        negative: str | None = None,
        *,
        guided: bool = True,
        weighted: bool | None = None,
        clip_skip: int = 0,
    ) -> PromptEmbeddings:
        """Embeddings of one prompt, (1, positions, width).

        Args:
            guided: False leaves the negative side out.
            weighted: overrules what the encoder was made with.
            clip_skip: as `encode_prompt` takes it.
        """
        weighted = self.weighted if weighted is None else weighted
        key = (prompt, negative if guided else None, guided, weighted, clip_skip)
        if key not in self._known:
            self._known[key] = self._encode(*key)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return self._known[key]

    @torch.no_grad()
    def _encode(
        self, prompt: str, negative: str | None, guided: bool, weighted: bool, clip_skip: int
    ) -> PromptEmbeddings:
        how: dict[str, Any] = {"weighted": weighted, "clip_skip": clip_skip}
        if not guided:
            return PromptEmbeddings(*encode_texts(self.parts, [prompt], self.layout, **how))
        negatives = None if negative is None else [negative]
        return encode_prompt(self.parts, [prompt], negatives, self.layout, **how)

    def report(self, prompt: str) -> TokenReport:
        """How the prompt is cut into chunks."""
        return TokenReport(tuple(tokens_per_chunk(self.parts, prompt, weighted=self.weighted)))

    def forget(self) -> None:
        """Call when the text encoders have changed."""
        self._known.clear()
