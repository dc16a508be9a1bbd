"""Text of any length to embeddings; sampling and training both call this.

A CLIP text encoder reads 77 positions: a start marker, 75 content tokens, an end marker.  A longer text is cut into
chunks of 75, each encoded alone between its own markers, and the results are laid end to end.  Prompt and negative
prompt are always padded to one number of chunks.  Brackets are plain text, as a language model means them, unless
weights are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, takewhile
from typing import Any, TypeVar

import torch
from torch import Tensor

from llmga.diffusers.memory import execution_device
from llmga.diffusers.prompt_weights import parse_weights
from llmga.registry import Registry

Value = TypeVar("Value")


@dataclass(frozen=True)
class PromptLayout:
    """How the chunks of one text are filled and joined.

    Attributes:
        inner_markers: keep every chunk's markers (77 k positions), or only the outermost two (75 k + 2).
        end_after_padding: the end marker is at the last position of a chunk instead of right after its text.
        pooled_chunk: index of the chunk whose pooled vector stands for the text.  With the last one (-1) the vector
            of a short text depends on the longest text that it is encoded with, as in the published SDXL weights.
    """

    inner_markers: bool
    end_after_padding: bool = False
    pooled_chunk: int = 0


LAYOUTS = Registry("prompt layout", {
    "joined": PromptLayout(inner_markers=False),
    "a1111": PromptLayout(inner_markers=True),
    "llmga": PromptLayout(inner_markers=False, end_after_padding=True, pooled_chunk=-1),  # the published SDXL weights
})  # fmt: skip


@dataclass(frozen=True)
class PromptEmbeddings:
    """What a pipeline is given instead of text.

    Attributes:
        embeds: (batch, positions, width).
        pooled: (batch, pooled width), None for families without a pooled vector (SD1.5).
        negative_embeds: of the shape of `embeds`; None when no negative side was asked for.
        negative_pooled: of the shape of `pooled`; None as `negative_embeds`.
    """

    embeds: Tensor
    pooled: Tensor | None = None
    negative_embeds: Tensor | None = None
    negative_pooled: Tensor | None = None


@dataclass(frozen=True)
class Tokens:
    """A text as one tokenizer reads it, markers left out.

    Attributes:
        ids: however many.
        weights: how much each counts; 1 for all without bracket syntax.
    """

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class TextTower:
    """A tokenizer and its encoder.

    Attributes:
        layer: index into the hidden states; None is the last one with its final norm.
        skip: so many layers before it are read instead; the final norm stays.
    """

    tokenizer: Any
    encoder: Any
    layer: int | None = None
    skip: int = 0

    @property
    def length(self) -> int:
        """Positions of one chunk, markers included (77)."""
        return int(min(self.tokenizer.model_max_length, self.encoder.config.max_position_embeddings))

    @property
    def window(self) -> int:
        """Content tokens of one chunk (75)."""
        return self.length - 2

    def content(self, text: str) -> list[int]:
        """Token ids without markers, however many; halves of characters are question marks.

        A word that was taught as several vectors is all of them.
        """
        whole = text.encode(errors="replace").decode()
        ids: list[int] = self.tokenizer(whole, add_special_tokens=False, truncation=False, verbose=False).input_ids
        taught = taught_words(self.tokenizer)
        return [vector for i in ids for vector in taught.get(i, (i,))] if taught else ids

    def tokens(self, text: str, weighted: bool = False) -> Tokens:
        """The text as it is, or with its brackets read as weights; runs of other weight are then other words."""
        runs = [(self.content(run), weight) for run, weight in (parse_weights(text) if weighted else [(text, 1.0)])]
        return Tokens([i for ids, _ in runs for i in ids], [weight for ids, weight in runs for _ in ids])

    def chunks(self, ids: Sequence[int]) -> int:
        """How many chunks the content tokens of a text fill, at least one."""
        return len(self._bounds(ids))

    def chunk_sizes(self, ids: Sequence[int]) -> list[int]:
        """How many content tokens fall into each chunk."""
        return [end - start for start, end in self._bounds(ids)]

    def _bounds(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Start and end of each chunk: `window` tokens, but the vectors of one word stay together where they fit."""
        inner = {vector for vectors in taught_words(self.tokenizer).values() for vector in vectors[1:]}
        bounds = [(0, 0)] if not ids else []
        start = 0
        while start < len(ids):
            end = cut = min(start + self.window, len(ids))
            while inner and start < cut < len(ids) and ids[cut] in inner:
                cut -= 1
            bounds.append((start, cut if cut > start else end))
            start = bounds[-1][1]
        return bounds

    def rows(self, ids: Sequence[int], chunks: int, layout: PromptLayout) -> list[list[int]]:
        """One row of `length` ids for each chunk; chunks past the end of the text hold only markers and padding."""
        bos, eos, pad = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        parts = self._parts(ids, ids, chunks)
        padding = [[pad] * (self.window - len(part)) for part in parts]
        if layout.end_after_padding:
            return [[bos, *part, *fill, eos] for part, fill in zip(parts, padding, strict=True)]
        return [[bos, *part, eos, *fill] for part, fill in zip(parts, padding, strict=True)]

    def weight_rows(self, weights: Sequence[float], chunks: int, ids: Sequence[int] = ()) -> list[list[float]]:
        """How much each position of `rows` counts; markers and padding 1.

        Args:
            ids: the tokens, where some are the vectors of a taught word.
        """
        parts = self._parts(weights, ids or [-1] * len(weights), chunks)
        return [[1.0, *part, *[1.0] * (self.length - 1 - len(part))] for part in parts]

    def _parts(self, values: Sequence[Value], ids: Sequence[int], chunks: int) -> list[list[Value]]:
        parts = [list(values[start:end]) for start, end in self._bounds(ids)]
        return (parts + [[] for _ in range(chunks)])[:chunks]

    def states(self, texts: Sequence[Tokens], chunks: int, layout: PromptLayout) -> tuple[Tensor, Tensor | None]:
        """Encode a batch of texts, every chunk for itself.

        Returns:
            (batch, chunks, length, width) and, if the encoder projects them, the pooled (batch, chunks, width).
        """
        rows = torch.tensor([row for text in texts for row in self.rows(text.ids, chunks, layout)])
        inner = self.layer is not None or self.skip > 0
        output = self.encoder(rows.to(execution_device(self.encoder)), output_hidden_states=inner)
        hidden = self._read(output)
        pooled = getattr(output, "text_embeds", None)
        shape = (len(texts), chunks)
        return hidden.unflatten(0, shape), None if pooled is None else pooled.unflatten(0, shape)

    def _read(self, output: Any) -> Any:
        if self.layer is not None:
            return output.hidden_states[self.layer - self.skip]
        if not self.skip:
            return output.last_hidden_state
        tower = getattr(self.encoder, "text_model", self.encoder)  # as versions of transformers have it
        return tower.final_layer_norm(output.hidden_states[-1 - self.skip])

    def encode(self, texts: Sequence[Tokens], chunks: int, layout: PromptLayout) -> tuple[Tensor, Tensor | None]:
        """Encode a batch of texts.

        Returns:
            (batch, positions, width) and, if the encoder projects one, the pooled (batch, width).
        """
        hidden, pooled = self.states(texts, chunks, layout)
        hidden = join(hidden, layout)
        if any(weight != 1 for text in texts for weight in text.weights):
            weights = hidden.new_tensor([self.weight_rows(text.weights, chunks, text.ids) for text in texts])
            hidden = _weighted(hidden, join(weights[..., None], layout))
        return hidden, None if pooled is None else pooled[:, layout.pooled_chunk]


def _weighted(hidden: Tensor, weights: Tensor) -> Tensor:
    """Each position times its weight, then each text's mean over positions and features restored.

    A mean near zero cannot be restored by a factor; such a text is left as weighted.
    """
    scaled = hidden * weights
    before, after = (x.float().mean(dim=(1, 2), keepdim=True) for x in (hidden, scaled))
    factor = torch.where(after.abs() > 1e-6, before / after, 1.0)
    return scaled * factor.to(hidden.dtype)


def join(hidden: Tensor, layout: PromptLayout) -> Tensor:
    """(batch, chunks, length, width) -> (batch, positions of all chunks, width)."""
    if layout.inner_markers:
        return hidden.flatten(1, 2)
    start, content, end = hidden[:, 0, :1], hidden[:, :, 1:-1].flatten(1, 2), hidden[:, -1, -1:]
    return torch.cat([start, content, end], dim=1)


def taught_words(tokenizer: Any) -> dict[int, list[int]]:
    """Words that textual inversion taught as several vectors: id -> ids of all of them.

    They are spelt as diffusers spells them: `word`, `word_1`, `word_2` …
    """
    added = getattr(tokenizer, "added_tokens_encoder", {})
    found = {i: [i, *takewhile(lambda each: each is not None, (added.get(f"{word}_{k}") for k in count(1)))]
             for word, i in added.items()}  # fmt: skip
    return {i: vectors for i, vectors in found.items() if len(vectors) > 1}


def text_towers(parts: Any, clip_skip: int = 0) -> list[TextTower]:
    """The text towers of a pipeline: one read at its last layer (SD1.5), or two read at the last but one (SDXL).

    Args:
        parts: a diffusers pipeline, or anything with its attributes `tokenizer`, `text_encoder` (and `…_2`).
        clip_skip: so many layers before that are read instead.
    """
    if getattr(parts, "text_encoder_2", None) is None:
        return [TextTower(parts.tokenizer, parts.text_encoder, None, clip_skip)]
    pairs = ((parts.tokenizer, parts.text_encoder), (parts.tokenizer_2, parts.text_encoder_2))
    return [TextTower(tokenizer, encoder, -2, clip_skip) for tokenizer, encoder in pairs]


def encode_texts(
    parts: Any,
    texts: Sequence[str],
    layout: str = "joined",
    *,
    max_chunks: int | None = None,
    weighted: bool = False,
    clip_skip: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """Texts to embeddings, all padded to the chunk count of the longest.

    Args:
        max_chunks: cut longer texts here; None loses no token.
        weighted: brackets are weights (see `prompt_weights`) instead of text.
        clip_skip: as `text_towers` takes it.

    Returns:
        (batch, positions, width) and the pooled (batch, width) of the tower that has one, else None.
    """
    towers = text_towers(parts, clip_skip)
    read = [[tower.tokens(text, weighted) for text in texts] for tower in towers]
    # The tokenizers of one pipeline may disagree ("!" is a marker to one of SDXL's): all share the larger count.
    chunks = max(tower.chunks(text.ids) for tower, batch in zip(towers, read, strict=True) for text in batch)
    chunks = min(chunks, max_chunks or chunks)
    encoded = [tower.encode(batch, chunks, LAYOUTS[layout]) for tower, batch in zip(towers, read, strict=True)]
    pooled = [vector for _, vector in encoded if vector is not None]
    return torch.cat([hidden for hidden, _ in encoded], dim=-1), pooled[-1] if pooled else None


def tokens_per_chunk(parts: Any, text: str, *, weighted: bool = False) -> list[int]:
    """How many tokens of a text fall into each of its chunks; of two tokenizers, what the more talkative one says."""
    read = [(tower, tower.tokens(text, weighted).ids) for tower in text_towers(parts)]
    tower, ids = max(read, key=lambda each: len(each[1]))
    return tower.chunk_sizes(ids)


@torch.no_grad()
def encode_prompt(
    pipeline_parts: Any,
    texts: Sequence[str],
    negatives: Sequence[str] | None = None,
    layout: str = "joined",
    *,
    max_chunks: int | None = None,
    weighted: bool = False,
    clip_skip: int = 0,
) -> PromptEmbeddings:
    """Prompts and negative prompts to embeddings of one length.

    With at most 75 tokens on both sides and the default layout this is what the stock pipeline computes.

    Args:
        negatives: one for each text; None is what the family takes for "no negative prompt": zeros in SDXL
            (if its pipeline is configured so), the empty text otherwise.
        clip_skip: layers of the text towers that the prompts leave out; the negative side is read as ever, as
            diffusers has it.

    Raises:
        UserError: for an unknown layout.
        ValueError: when the two sides differ in number.
    """
    encode = partial(encode_texts, pipeline_parts, layout=layout, max_chunks=max_chunks, weighted=weighted)
    zeros = negatives is None and bool(getattr(pipeline_parts.config, "force_zeros_for_empty_prompt", False))
    if zeros:
        embeds, pooled = encode(texts, clip_skip=clip_skip)
        return PromptEmbeddings(embeds, pooled, torch.zeros_like(embeds), _zeros_like(pooled))
    negatives = [""] * len(texts) if negatives is None else list(negatives)
    if len(negatives) != len(texts):
        raise ValueError(f"{len(texts)} prompts but {len(negatives)} negative prompts")
    embeds, pooled = encode([*texts, *negatives])
    some = len(texts)
    if clip_skip:
        skipped, _ = encode([*texts, *negatives], clip_skip=clip_skip)
        embeds = torch.cat([skipped[:some], embeds[some:]])
    if pooled is None:
        return PromptEmbeddings(embeds[:some], None, embeds[some:], None)
    return PromptEmbeddings(embeds[:some], pooled[:some], embeds[some:], pooled[some:])


def _zeros_like(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else torch.zeros_like(tensor)
