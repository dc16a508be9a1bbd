"""A beginning from which short runs get somewhere; the published training begins at random and takes its time.

As published, features are scaled by what a random prior happens to be, nearly 0, so that blocks are dead at first, and
a few random channels of each 4x4 cell show nothing of its fine detail.  None of this changes the layout of the weights.
"""

from typing import Any

import torch
from torch import nn

from llmga.diffrir.layers import PRIOR_WIDTH, Steered
from llmga.diffrir.model import FINEST, Stage1

LUMA = (0.299, 0.587, 0.114)
CELL = FINEST**2  # pixels that become one feature
BOOST = 4.0  # detail is small beside what other channels carry


@torch.no_grad()
def start_plain(network: Stage1) -> None:
    """The picture as it is, a prior that changes no feature, and at scale 1 a way for fine detail."""
    image_network: Any = network.G
    prior_encoder: Any = network.E
    nn.init.zeros_(image_network.tail[1].weight)
    nn.init.zeros_(image_network.tail[1].bias)
    nn.init.ones_(prior_encoder.mlp[2].bias)  # the prior is about 1 …
    for steered in (module for module in network.modules() if isinstance(module, Steered)):
        (kernel,) = steered.kernel.parameters()
        weight = kernel.mul_(0.1)
        weight[: len(weight) // 2] += 1 / PRIOR_WIDTH  # … and so is its scale
    if network.config.scale == 1 and network.config.dim >= CELL:
        _pass_detail(image_network)


def _pass_detail(image_network: Any) -> None:
    """The first 16 channels are the brightness of a cell's pixels, less what is around; the tail spreads them again."""
    width = image_network.config.dim
    embed = image_network.patch_embed.proj.weight  # (width, 96, 3, 3); inputs are colours by pixels of a cell
    embed[:CELL] = 0
    for pixel in range(CELL):
        for colour, share in enumerate(LUMA):
            inputs = slice(colour * CELL, (colour + 1) * CELL)
            embed[pixel, inputs] -= BOOST * share / (CELL * 9)
            embed[pixel, colour * CELL + pixel, 1, 1] += BOOST * share
    first, second = image_network.tail[0][0], image_network.tail[0][2]
    for pixel in range(CELL):
        (outer_y, inner_y), (outer_x, inner_x) = (divmod(place, 2) for place in divmod(pixel, FINEST))
        inner = 2 * inner_y + inner_x
        # Behind the decoder the first level's channels come second.
        _wire(first, width + pixel, 4 * inner + 2 * outer_y + outer_x)
        _wire(second, inner, inner)


def _wire(conv: Any, source: int, target: int) -> None:
    """One output of a 3x3 convolution becomes a copy of one input."""
    conv.weight[target] = 0
    conv.bias[target] = 0
    conv.weight[target, source, 1, 1] = 1
