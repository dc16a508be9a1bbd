"""Text of any length to embeddings; sampling and training both call this.

A CLIP text encoder reads 77 positions: a start marker, 75 content tokens, an end marker.  A longer text is cut into
chunks of 75, each encoded alone between its own markers, and the results are laid end to end.  Prompt and negative
prompt are always padded to one number of chunks.  Brackets are plain text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmga.registry import Registry


@dataclass(frozen=True)
class Layout:
    """How the chunks of one text are filled and joined.

    Attributes:
        inner_markers: keep every chunk's markers (77 k positions), or only the outermost two (75 k + 2).
        end_after_padding: the end marker is at the last position of a chunk instead of right after its text.
        pooled_chunk: index of the chunk whose pooled vector stands for the text.
    """

    inner_markers: bool
    end_after_padding: bool = False
    pooled_chunk: int = 0


LAYOUTS = Registry("prompt layout", {
    "joined": Layout(inner_markers=False),
    "a1111": Layout(inner_markers=True),
    "llmga": Layout(inner_markers=False, end_after_padding=True, pooled_chunk=-1),  # the published SDXL weights
})  # fmt: skip


@dataclass(frozen=True)
class PromptEmbeddings:
    """What a pipeline is given instead of text.

    Attributes:
        embeds: (batch, positions, width).
        pooled: (batch, pooled width), None for families without a pooled vector (SD1.5).
        negative_embeds, negative_pooled: of the same shapes; None when no negative side was asked for.
    """

    embeds: Tensor
    pooled: Tensor | None = None
    negative_embeds: Tensor | None = None
    negative_pooled: Tensor | None = None


@dataclass(frozen=True)
class TextTower:
    """A tokenizer and its encoder.

    Attributes:
        layer: index into the hidden states; None is the last one with its final norm.
    """

    tokenizer: Any
    encoder: Any
    layer: int | None = None

    @property
    def length(self) -> int:
        """Positions of one chunk, markers included (77)."""
        return min(self.tokenizer.model_max_length, self.encoder.config.max_position_embeddings)

    def content(self, text: str) -> list[int]:
        """Token ids without markers, however many."""
        return self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    def rows(self, ids: Sequence[int], chunks: int, layout: Layout) -> list[list[int]]:
        """One row of `length` ids for each chunk; chunks past the end of the text hold only markers and padding."""
        window = self.length - 2
        bos, eos, pad = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        parts = [list(ids[k * window : (k + 1) * window]) for k in range(chunks)]
        padding = [[pad] * (window - len(part)) for part in parts]
        if layout.end_after_padding:
            return [[bos, *part, *fill, eos] for part, fill in zip(parts, padding, strict=True)]
        return [[bos, *part, eos, *fill] for part, fill in zip(parts, padding, strict=True)]

    def encode(self, ids: Sequence[Sequence[int]], chunks: int, layout: Layout) -> tuple[Tensor, Tensor | None]:
        """Encode a batch of token lists.

        Returns:
            (batch, positions, width) and, if the encoder projects one, the pooled (batch, width).
        """
        rows = torch.tensor([row for text in ids for row in self.rows(text, chunks, layout)])
        output = self.encoder(rows.to(self.encoder.device), output_hidden_states=self.layer is not None)
        hidden = output.last_hidden_state if self.layer is None else output.hidden_states[self.layer]
        pooled = getattr(output, "text_embeds", None)
        if pooled is not None:
            pooled = pooled.unflatten(0, (len(ids), chunks))[:, layout.pooled_chunk]
        return _join(hidden.unflatten(0, (len(ids), chunks)), layout), pooled


def _join(hidden: Tensor, layout: Layout) -> Tensor:
    """(batch, chunks, positions, width) -> (batch, positions of all chunks, width)."""
    if layout.inner_markers:
        return hidden.flatten(1, 2)
    start, content, end = hidden[:, 0, :1], hidden[:, :, 1:-1].flatten(1, 2), hidden[:, -1, -1:]
    return torch.cat([start, content, end], dim=1)


def text_towers(parts: Any) -> list[TextTower]:
    """The text towers of a pipeline: one read at its last layer (SD1.5), or two read at the last but one (SDXL).

    Args:
        parts: a diffusers pipeline, or anything with its attributes `tokenizer`, `text_encoder` (and `…_2`).
    """
    if getattr(parts, "text_encoder_2", None) is None:
        return [TextTower(parts.tokenizer, parts.text_encoder)]
    return [TextTower(parts.tokenizer, parts.text_encoder, -2), TextTower(parts.tokenizer_2, parts.text_encoder_2, -2)]


def encode_texts(
    parts: Any, texts: Sequence[str], layout: str = "joined", *, max_chunks: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Texts to embeddings, all padded to the chunk count of the longest.

    Args:
        max_chunks: cut longer texts here; None loses no token.

    Returns:
        (batch, positions, width) and the pooled (batch, width) of the tower that has one, else None.
    """
    towers = text_towers(parts)
    ids = [[tower.content(text) for text in texts] for tower in towers]
    # The tokenizers of one pipeline may disagree ("!" is a marker to one of SDXL's): all share the larger count.
    chunks = max(_chunks(len(text), tower) for tower, batch in zip(towers, ids, strict=True) for text in batch)
    chunks = min(chunks, max_chunks or chunks)
    encoded = [tower.encode(batch, chunks, LAYOUTS[layout]) for tower, batch in zip(towers, ids, strict=True)]
    pooled = [vector for _, vector in encoded if vector is not None]
    return torch.cat([hidden for hidden, _ in encoded], dim=-1), pooled[-1] if pooled else None


def _chunks(tokens: int, tower: TextTower) -> int:
    return max(1, math.ceil(tokens / (tower.length - 2)))


@torch.no_grad()
def encode_prompt(
    pipeline_parts: Any,
    texts: Sequence[str],
    negatives: Sequence[str] | None = None,
    layout: str = "joined",
    *,
    max_chunks: int | None = None,
) -> PromptEmbeddings:
    """Prompts and negative prompts to embeddings of one length.

    With at most 75 tokens on both sides and the default layout this is what the stock pipeline computes.

    Args:
        negatives: one for each text; None is what the family takes for "no negative prompt": zeros in SDXL
            (if its pipeline is configured so), the empty text otherwise.

    Raises: UserError for an unknown layout; ValueError when the two sides differ in number.
    """
    zeros = negatives is None and bool(getattr(pipeline_parts.config, "force_zeros_for_empty_prompt", False))
    if zeros:
        embeds, pooled = encode_texts(pipeline_parts, texts, layout, max_chunks=max_chunks)
        return PromptEmbeddings(embeds, pooled, torch.zeros_like(embeds), _zeros_like(pooled))
    negatives = [""] * len(texts) if negatives is None else list(negatives)
    if len(negatives) != len(texts):
        raise ValueError(f"{len(texts)} prompts but {len(negatives)} negative prompts")
    embeds, pooled = encode_texts(pipeline_parts, [*texts, *negatives], layout, max_chunks=max_chunks)
    count = len(texts)
    if pooled is None:
        return PromptEmbeddings(embeds[:count], None, embeds[count:], None)
    return PromptEmbeddings(embeds[:count], pooled[:count], embeds[count:], pooled[count:])


def _zeros_like(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else torch.zeros_like(tensor)
