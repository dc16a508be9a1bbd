"""Captions to prompt embeddings: encoded as in sampling, now or once and for all."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.long_prompt import LAYOUTS, PromptLayout, TextTower, Tokens, join, text_towers
from llmga.diffusers.train.batches import Batch
from llmga.diffusers.train.caching import fingerprint, kept
from llmga.diffusers.train.networks import Embed

AT_ONCE = 32
BLANK = ""  # the chunk that pads a text to the length of its batch


class CachedEmbeddings:
    """Encoded captions, joined and padded when they are asked for, so that batches are as if encoded online.

    Args:
        tensors: `hidden` (chunks, length, width) and, if there is one, `pooled` (chunks, width) of all captions' chunks
            one after the other; `start` and `count` (captions,) say which are whose.
        captions: in the order of `start`; the first is `BLANK`.
    """

    def __init__(self, tensors: dict[str, Tensor], captions: Sequence[str], layout: str):
        self.hidden: Tensor = tensors["hidden"]
        self.pooled: Tensor | None = tensors.get("pooled")
        self.layout: PromptLayout = LAYOUTS[layout]
        spans = zip(tensors["start"].tolist(), tensors["count"].tolist(), strict=True)
        self.chunks: dict[str, range] = {
            caption: range(start, start + count) for caption, (start, count) in zip(captions, spans, strict=True)
        }

    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """(batch, positions, width) and the pooled (batch, width), as `encode_texts` gives them."""
        longest = max(len(self.chunks[caption]) for caption in captions)
        blank = list(self.chunks[BLANK])
        rows = [[*self.chunks[each], *blank * (longest - len(self.chunks[each]))] for each in captions]
        which = torch.tensor(rows)
        embeds = join(self.hidden[which], self.layout)
        return embeds, None if self.pooled is None else self.pooled[which][:, self.layout.pooled_chunk]


def cached_embeddings(
    parts: Any, records: CaptionedImages, layout: str, folder: Path, *, main: bool = True
) -> CachedEmbeddings:
    """Read the cache of exactly these captions, this layout and these text towers; make it first if it is not there.

    Args:
        main: False in the other processes of a run, which keep silent and write nothing.
    """
    captions = list(dict.fromkeys([BLANK, *records.captions()]))
    towers = text_towers(parts)
    vocabularies = [tower.tokenizer.get_vocab() for tower in towers]
    name = fingerprint([layout, captions, vocabularies], *(tower.encoder for tower in towers))
    make = partial(_encode_all, parts, captions, layout, quiet=not main)
    return CachedEmbeddings(kept(folder / f"words-{name}.safetensors", make, write=main), captions, layout)


@torch.no_grad()
def _encode_all(parts: Any, captions: list[str], layout: str, *, quiet: bool) -> dict[str, Tensor]:
    towers = text_towers(parts)
    texts = [[tower.tokens(caption) for tower in towers] for caption in captions]
    counts = [max(tower.chunks(text.ids) for tower, text in zip(towers, read, strict=True)) for read in texts]
    found: dict[int, tuple[Tensor, Tensor | None]] = {}
    bar = tqdm(total=len(captions), desc="encoding captions", disable=quiet or None)
    for some in _of_one_length(counts):
        found |= _encode(towers, {number: texts[number] for number in some}, counts[some[0]], LAYOUTS[layout])
        bar.update(len(some))
    bar.close()
    in_order = [found[number] for number in range(len(captions))]
    spans = torch.tensor(counts)
    tensors = {
        "hidden": torch.cat([hidden for hidden, _ in in_order]),
        "start": spans.cumsum(0) - spans,
        "count": spans,
    }
    pooled = [vectors for _, vectors in in_order if vectors is not None]
    return tensors | ({"pooled": torch.cat(pooled)} if pooled else {})


def _of_one_length(counts: list[int]) -> Iterator[list[int]]:
    """Numbers of captions with as many chunks, a few at a time."""
    for count in sorted(set(counts)):
        alike = [number for number, own in enumerate(counts) if own == count]
        yield from (alike[start : start + AT_ONCE] for start in range(0, len(alike), AT_ONCE))


def _encode(
    towers: list[TextTower], texts: dict[int, list[Tokens]], chunks: int, layout: PromptLayout
) -> dict[int, tuple[Tensor, Tensor | None]]:
    """For each text its chunks' states of all towers side by side, and the pooled vectors of the last that has some."""
    states = [tower.states([read[place] for read in texts.values()], chunks, layout)
              for place, tower in enumerate(towers)]  # fmt: skip
    hidden = torch.cat([each for each, _ in states], dim=-1).cpu()
    pooled = [vectors.cpu() for _, vectors in states if vectors is not None]
    return {number: (hidden[row], pooled[-1][row] if pooled else None) for row, number in enumerate(texts)}


class WholeEmbeddings:
    """Encoded captions of a family whose embeddings are all of one length.

    Args:
        tensors: `hidden` (captions, positions, width) and `pooled` (captions, width).
        captions: in that order.
    """

    def __init__(self, tensors: dict[str, Tensor], captions: Sequence[str]):
        self.tensors = tensors
        self.row: dict[str, int] = {caption: row for row, caption in enumerate(captions)}

    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """(batch, positions, width) and the pooled (batch, width)."""
        rows = torch.tensor([self.row[caption] for caption in captions])
        return self.tensors["hidden"][rows], self.tensors["pooled"][rows]


def cached_whole(
    embed: Embed, parts: Sequence[Any], facts: Any, records: CaptionedImages, folder: Path, *, main: bool = True
) -> WholeEmbeddings:
    """As `cached_embeddings`, for a family that is asked by `embed`.

    Args:
        parts: the text encoders, whose weights the cache's name follows from.
        facts: what else it follows from, such as vocabularies.
    """
    captions = list(dict.fromkeys([BLANK, *records.captions()]))
    name = fingerprint([facts, captions], *parts)
    make = partial(_embed_all, embed, captions, quiet=not main)
    return WholeEmbeddings(kept(folder / f"words-{name}.safetensors", make, write=main), captions)


@torch.no_grad()
def _embed_all(embed: Embed, captions: list[str], *, quiet: bool) -> dict[str, Tensor]:
    hidden, pooled = [], []
    for start in tqdm(range(0, len(captions), AT_ONCE), desc="encoding captions", disable=quiet or None):
        embeds, vectors = embed(captions[start : start + AT_ONCE])
        assert vectors is not None
        hidden.append(embeds.cpu())
        pooled.append(vectors.cpu())
    return {"hidden": torch.cat(hidden), "pooled": torch.cat(pooled)}


class CaptionEncoder:
    """The prompt embeddings of a batch, with some of its captions left out.

    Args:
        embed: captions to embeddings, now or from a cache.
        zeros: whether no caption is zeros, instead of the empty text.
        learns: whether the text encoders do.
    """

    def __init__(self, embed: Embed, *, zeros: bool, learns: bool = False):
        self.embed = embed
        self.zeros = zeros
        self.learns = learns

    def __call__(self, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Embeddings (batch, positions, width) and pooled (batch, width); a dropped caption becomes what sampling takes
        for "no negative prompt"."""
        with torch.set_grad_enabled(self.learns):
            return self._embedded(batch, device)

    def _embedded(self, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None]:
        if not self.zeros:
            captions = [BLANK if out else text for text, out in zip(batch.captions, batch.dropped, strict=True)]
            return self._on(device, self.embed(captions))
        embeds, pooled = self._on(device, self.embed(batch.captions))
        out = batch.dropped.to(device)
        return embeds.masked_fill(out[:, None, None], 0), None if pooled is None else pooled.masked_fill(
            out[:, None], 0
        )

    @staticmethod
    def _on(device: torch.device, embeddings: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None]:
        embeds, pooled = embeddings
        return embeds.to(device), None if pooled is None else pooled.to(device)
