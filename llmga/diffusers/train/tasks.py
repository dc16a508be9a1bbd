"""Tasks as rows: what the UNet is given beside the noisy latents and the text."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from llmga.diffusers.train.batches import Batch
from llmga.registry import Registry


@dataclass(frozen=True)
class Task:
    """Attributes:
    extra_channels: input channels beyond the noisy latents (4).
    widen: (noisy latents, batch) -> the UNet's input.
    """

    extra_channels: int
    widen: Callable[[Tensor, Batch], Tensor]


def noisy_only(noisy: Tensor, batch: Batch) -> Tensor:
    """Painting from words: nothing beside the noise."""
    return noisy


TASKS = Registry("task", {"text-to-image": Task(0, noisy_only)})
