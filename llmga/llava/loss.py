"""The loss of a large vocabulary: the logits of all positions are never there at once."""

from collections.abc import Callable
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers.loss.loss_utils import ForCausalLMLoss

from llmga.llava.tokenization import IGNORED

LOGITS_AT_ONCE = 2**27  # 512 MiB in single precision; 1,046 positions of a vocabulary of 128,256


def chunked_loss(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    labels: Tensor,
    rows: int,
    items: Tensor | int | None = None,
    calls: int | None = None,
) -> Tensor:
    """What the library's `ForCausalLMLoss` makes of head(hidden), a chunk of positions after the other.

    The backward pass computes the logits of each chunk again; those of the last one, where it begins, are still there.

    Args:
        head: hidden states (positions, width) -> logits (positions, rows).
        hidden: (batch, length, width).
        labels: (batch, length), IGNORED where nothing is supervised.
        items: what the sum over tokens is divided by; None: how many of them are supervised.
        calls: how often the head is called, whatever the length; None: as rarely as LOGITS_AT_ONCE allows.

    Returns:
        The loss, in single precision.
    """
    targets = pad(labels, (0, 1), value=IGNORED)[..., 1:].flatten()  # position n foretells token n + 1
    count = calls or ceil(len(targets) * rows / LOGITS_AT_ONCE)

    def summed(states: Tensor, wanted: Tensor) -> Tensor:
        by_one: Any = 1  # the sum; a tensor would be brought to the device each time
        return ForCausalLMLoss(head(states), None, rows, by_one, IGNORED, shift_labels=wanted)

    *first, last = zip(hidden.flatten(0, 1).tensor_split(count), targets.tensor_split(count), strict=True)
    sums = [*(checkpoint(summed, *chunk, use_reentrant=False) for chunk in first), summed(*last)]
    total = torch.stack(sums).sum()
    if items is None:
        items = (targets != IGNORED).sum()
    return total / (items.to(total.device) if isinstance(items, Tensor) else items)
