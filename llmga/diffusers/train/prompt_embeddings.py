"""Captions to prompt embeddings: encoded as in sampling, now or once and for all."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.long_prompt import LAYOUTS, PromptLayout, TextTower, Tokens, encode_texts, join, text_towers
from llmga.diffusers.train.batches import Batch
from llmga.diffusers.train.caching import fingerprint, kept

AT_ONCE = 32
BLANK = ""  # the chunk that pads a text to the length of its batch

Embed = Callable[[Sequence[str]], tuple[Tensor, Tensor | None]]


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


class CaptionEncoder:
    """The prompt embeddings of a batch, with some of its captions left out.

    Args:
        parts: a pipeline with its text towers and `config`.
        cached: captions that are encoded already.
    """

    def __init__(self, parts: Any, layout: str, cached: CachedEmbeddings | None = None):
        self.embed: Embed = cached or (lambda texts: encode_texts(parts, texts, layout))
        self.zeros: bool = bool(parts.config.get("force_zeros_for_empty_prompt", False))

    @torch.no_grad()
    def __call__(self, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Embeddings (batch, positions, width) and pooled (batch, width); a dropped caption becomes what sampling takes
        for "no negative prompt"."""
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
