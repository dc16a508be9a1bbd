"""Attention in packed rows, sample by sample: nothing is computed between strangers, and no package is needed.

Where flash attention is not installed, block masks would have every token look at its whole row.  Cut into its samples,
a row costs what the samples cost, and PyTorch's own causal kernels do the work.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "sdpa_by_sample"


def register() -> None:
    """Make the name known to transformers; for the text model only, which passes `segments` on to its layers."""
    AttentionInterface.register(NAME, attend)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Sequence[Sequence[int]] | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sample.

    Args:
        query: (rows, heads, length, width); `key` and `value` may have fewer heads and, when generating, be longer.
        segments: per row the lengths of its samples; what is left of a row is padding.  None: one sample per row.

    Returns:
        (rows, length, heads, width), and no attention weights.

    Raises:
        ValueError: for padding without `segments`, which nothing here would hide.
    """
    options.pop("is_causal", None)
    if segments is None:
        if attention_mask is not None and not attention_mask.all():
            raise ValueError("rows with padding need their segments")
        return _sdpa(module, query, key, value, sliding_window, options), None
    rows = [
        torch.cat(
            [_sdpa(module, *parts, sliding_window, options) for parts in _cut(row, lengths, query, key, value)], 1
        )
        for row, lengths in enumerate(segments)
    ]
    return torch.cat(rows), None


def _cut(
    row: int, lengths: Sequence[int], query: Tensor, key: Tensor, value: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    whole = query.shape[2]
    padding = [whole - sum(lengths)] if sum(lengths) < whole else []
    for start, end in pairwise(accumulate([*lengths, *padding], initial=0)):
        sample = slice(row, row + 1), slice(None), slice(start, end)
        yield query[sample], key[sample], value[sample]


def _sdpa(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, window: int | None, options: dict[str, Any]
) -> Tensor:
    new, seen = query.shape[2], key.shape[2]
    if window is None or seen <= window:
        mask, causal = None, new > 1
    else:
        age = torch.arange(seen - new, seen, device=query.device)[:, None] - torch.arange(seen, device=query.device)
        mask, causal = ((age >= 0) & (age < window))[None, None], False
    return sdpa_attention_forward(module, query, key, value, mask, is_causal=causal, **options)[0]
