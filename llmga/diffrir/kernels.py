"""Blur kernels in closed form (Real-ESRGAN, section 3.1 and 3.2), and how the published training draws them.

Kernels are float64 tensors of odd size that sum to one.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from llmga.registry import Registry

LARGEST = 21
SIZES = range(7, LARGEST + 1, 2)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """Columns and rows counted from the middle, each (size, size)."""
    along = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    return along.expand(size, size), along[:, None].expand(size, size)


def _distance(size: int, sigma_x: float, sigma_y: float, theta: float) -> Tensor:
    """Squared distance from the middle, measured in sigmas along axes turned by theta."""
    x, y = _grid(size)
    along = x * math.cos(theta) + y * math.sin(theta)
    across = y * math.cos(theta) - x * math.sin(theta)
    return (along / sigma_x).square() + (across / sigma_y).square()


def _normalised(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()


def gaussian(size: int, sigma_x: float, sigma_y: float, theta: float = 0.0, beta: float = 1.0) -> Tensor:
    """The bell; another beta than 1 makes it flatter (above) or more pointed (below)."""
    return _normalised(torch.exp(-0.5 * _distance(size, sigma_x, sigma_y, theta) ** beta))


def plateau(size: int, sigma_x: float, sigma_y: float, theta: float = 0.0, beta: float = 1.0) -> Tensor:
    """A hill with a flat top and long tails."""
    return _normalised(1 / (1 + _distance(size, sigma_x, sigma_y, theta) ** beta))


def sinc(cutoff: float, size: int, pad_to: int = 0) -> Tensor:
    """The ideal circular low-pass filter, which rings; zeros around it up to `pad_to`.

    Args:
        cutoff: in radians a pixel, pi keeps everything.
    """
    x, y = _grid(size)
    radius = (x.square() + y.square()).sqrt()
    radius[size // 2, size // 2] = 1  # the middle has its own limit
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return padded(_normalised(kernel), pad_to or size)


def padded(kernel: Tensor, size: int) -> Tensor:
    """Zeros on all sides up to `size`."""
    return F.pad(kernel, [(size - len(kernel)) // 2] * 4)


SHAPES: Registry[Callable[..., Tensor]] = Registry("blur kernel", {"gaussian": gaussian, "plateau": plateau})
# weight, shape, whether the axes differ, range of beta
MIXTURE = (
    (0.45, "gaussian", False, None),
    (0.25, "gaussian", True, None),
    (0.12, "gaussian", False, (0.5, 4.0)),
    (0.03, "gaussian", True, (0.5, 4.0)),
    (0.12, "plateau", False, (1.0, 2.0)),
    (0.03, "plateau", True, (1.0, 2.0)),
)
SINC_SHARE = 0.1


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """One number between `low` and `high`."""
    return low + (high - low) * torch.rand((), dtype=torch.float64, generator=generator).item()


def bernoulli(probability: float, generator: torch.Generator) -> bool:
    """True with this probability."""
    return uniform(0, 1, generator) < probability


def pick(weights: list[float], generator: torch.Generator) -> int:
    """A place in the list, each as likely as it weighs."""
    return int(torch.multinomial(torch.tensor(weights, dtype=torch.float64), 1, generator=generator))


def _beta(span: tuple[float, float] | None, generator: torch.Generator) -> float:
    """Below and above 1 equally often, however lopsided the range."""
    if span is None:
        return 1.0
    return uniform(*((span[0], 1.0) if bernoulli(0.5, generator) else (1.0, span[1])), generator)


def random_blur(generator: torch.Generator, sigmas: tuple[float, float]) -> Tensor:
    """One kernel of the mixture, (21, 21).

    Args:
        sigmas: lowest and highest width in pixels.
    """
    size = SIZES[pick([1.0] * len(SIZES), generator)]
    if bernoulli(SINC_SHARE, generator):
        return sinc(uniform(math.pi / 3 if size < 13 else math.pi / 5, math.pi, generator), size, LARGEST)
    _, shape, turned, betas = MIXTURE[pick([row[0] for row in MIXTURE], generator)]
    sigma_x = sigma_y = uniform(*sigmas, generator)
    theta = 0.0
    if turned:
        sigma_y, theta = uniform(*sigmas, generator), uniform(-math.pi, math.pi, generator)
    return padded(SHAPES[shape](size, sigma_x, sigma_y, theta, _beta(betas, generator)), LARGEST)


def random_final(generator: torch.Generator) -> Tensor:
    """The kernel of the last step, (21, 21): mostly a sinc, else one that changes nothing."""
    if not bernoulli(0.8, generator):
        return padded(torch.ones(1, 1, dtype=torch.float64), LARGEST)
    size = SIZES[pick([1.0] * len(SIZES), generator)]
    return sinc(uniform(math.pi / 3, math.pi, generator), size, LARGEST)
