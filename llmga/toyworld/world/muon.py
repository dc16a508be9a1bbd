"""An optimiser for kernels: in the few steps that a CPU can do it gets further than AdamW."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal (Jordan et al., 2024); a kernel is the matrix (out, in * k * k).

    Updates have the root mean square of AdamW's (0.2), so that both take the same learning rate (Liu et al., 2025,
    arXiv:2502.16982).
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter; each has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                moved = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                moved.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(moved, group["momentum"]).flatten(1)
                update = orthogonal(ahead) * 0.2 * max(ahead.shape) ** 0.5
                weight.sub_(update.view_as(weight), alpha=group["lr"])


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest half-orthogonal matrix, nearly: five Newton-Schulz steps of fifth order.

    The steps are multiplied together before they touch the matrix: they need no more of it than its square, which for
    a long matrix is small.  Not in 16 bits, where that product runs away.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    square = x @ x.T
    one = torch.eye(len(x), dtype=x.dtype)
    whole = one
    for _ in range(steps):
        once = a * one + b * square + c * square @ square
        whole, square = once @ whole, once @ square @ once
    x = whole @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
