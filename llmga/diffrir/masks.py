"""Masks of the published DiffRIR training: the shared kinds of mask, larger, and mixed in other shares."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from llmga import masks
from llmga.registry import Registry

SIDE = 400  # of the pictures for which the published settings state their pixels
KINDS = Registry(
    "kind of mask",
    {
        "irregular": partial(masks.irregular, side=SIDE),
        "box": partial(masks.box, side=SIDE),
        "outpainting": partial(masks.outpaint, narrowest=0.15),
    },
)
PROBABILITIES = {"irregular": 0.35, "box": 0.30, "outpainting": 0.35}


def random_mask(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A boolean array (height, width), True where a picture of `size` (width, height) was painted."""
    kind = str(rng.choice(list(PROBABILITIES), p=list(PROBABILITIES.values())))
    return KINDS[kind](size, rng)


def random_masks(count: int, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """(count, 1, height, width), 1 where painted."""
    return torch.from_numpy(np.stack([random_mask(size, rng) for _ in range(count)])[:, None]).float()
