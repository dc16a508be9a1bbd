"""What a picture suffers on its way through a diffusion model, simulated: batched operations on any device.

Pictures are (B, 3, H, W) in [0, 1].  The published training chains these operations twice, as Real-ESRGAN does, and
ends with a mismatch of tone.  Numbers are drawn with a CPU generator, so that a seed means the same on every device.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llmga.diffrir.jpeg import jpeg
from llmga.diffrir.kernels import LARGEST, bernoulli, gaussian, pick, random_blur, random_final, uniform

RESIZES = ("area", "bilinear", "bicubic")
JPEG_QUALITY = (30.0, 95.0)
GREY_SHARE = 0.4
DRIFT_SPACING = (80.0, 250.0)  # pixels between the corners of a drift's grid
GREY = (0.2989, 0.587, 0.114)


def blur(images: Tensor, kernels: Tensor) -> Tensor:
    """Correlation with a kernel for each picture, borders mirrored: (B, C, H, W), (B or 1, K, K) with K odd."""
    batch, channels = images.shape[:2]
    pad = kernels.shape[-1] // 2
    kernels = kernels.to(images).expand(batch, -1, -1).repeat_interleave(channels, 0)[:, None]
    padded = F.pad(images, [pad] * 4, mode="reflect").flatten(0, 1)[None]
    return F.conv2d(padded, kernels, groups=batch * channels).view_as(images)


def resize(
    images: Tensor, mode: str, *, size: tuple[int, int] | None = None, scale_factor: float | None = None
) -> Tensor:
    """To (height, width) or by a factor, `mode` being area, bilinear or bicubic, without smoothing first."""
    return F.interpolate(images, size=size, scale_factor=scale_factor, mode=mode)


def add_noise(images: Tensor, noise: Tensor) -> Tensor:
    """Add and clip."""
    return (images + noise).clamp(0, 1)


def gaussian_noise(images: Tensor, sigma: Tensor, grey: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of `sigma` (B,) levels of 255; where `grey` (B,) is true, one pattern for all channels and pictures."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    pattern = torch.randn(images.shape[-2:], generator=generator, device=images.device)
    return torch.where(_each(grey), pattern, noise) * _each(sigma) / 255


def poisson_noise(images: Tensor, scale: Tensor, grey: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of counted light, `scale` (B,) times as strong; where `grey` (B,) is true, the same in all channels."""
    dull = (images * images.new_tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)
    return torch.where(_each(grey), _shot(dull, generator), _shot(images, generator)) * _each(scale)


def _shot(images: Tensor, generator: torch.Generator) -> Tensor:
    """Counted light minus its expectation, where a picture's levels (rounded up to a power of two) are the counts."""
    images = quantise(images)
    counts = _each(2 ** _levels(images).log2().ceil())
    return torch.poisson(images * counts, generator=generator) / counts - images


def _levels(images: Tensor) -> Tensor:
    """How many of a file's 256 levels each picture has, (B,); `unique` would wait for the device at every picture."""
    found = images.new_zeros(len(images), 256)
    return found.scatter_(1, (images * 255).round().long().flatten(1), 1).sum(1)


def _each(values: Tensor) -> Tensor:
    """(B,) beside (B, C, H, W)."""
    return values.view(-1, 1, 1, 1)


def luminance(images: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Another tone: gain and bias (B,), the same for all channels."""
    return (images * _each(gain) + _each(bias)).clamp(0, 1)


def local_drift(images: Tensor, strength: float | Tensor, generator: torch.Generator, cells: int = 4) -> Tensor:
    """Colours that drift from place to place and by channel, as after a real VAE; no part of the published recipe.

    Args:
        strength: standard deviation of the drift at the corners of a coarse grid of `cells` by `cells`, one for all
            pictures or (B, 1, 1, 1).
    """
    coarse = torch.randn(len(images), 3, cells, cells, generator=generator, device=images.device)
    field = F.interpolate(coarse, images.shape[-2:], mode="bicubic", align_corners=True)
    return (images + strength * field).clamp(0, 1)


def quantise(images: Tensor) -> Tensor:
    """To the 256 levels of a file."""
    return (images * 255).round().clamp(0, 255) / 255


def sharpen(images: Tensor, weight: float = 0.5, taps: int = 51, threshold: float = 10) -> Tensor:
    """Unsharp masking where details exceed `threshold` levels of 255, blended in softly; the crisper target."""
    kernel = _bell(taps).to(images)
    residual = images - blur(images, kernel)
    where = blur((residual.abs() * 255 > threshold).to(images), kernel)
    return where * (images + weight * residual).clamp(0, 1) + (1 - where) * images


def _bell(taps: int) -> Tensor:
    """The Gaussian that OpenCV makes of a number of taps, (1, taps, taps)."""
    sigma = 0.3 * ((taps - 1) / 2 - 1) + 0.8
    line = torch.exp(-(torch.arange(taps, dtype=torch.float64) - taps // 2).square() / (2 * sigma**2))
    line = line / line.sum()
    return (line[:, None] * line)[None]


@dataclass(frozen=True)
class Pass:
    """One of the two rounds of degradation.

    Attributes:
        resizes: how likely up, down and keep are.
        shrink: lowest factor down.
        grow: highest factor up.
        gaussian: sigma in levels of 255, half of the time; poisson: scale, the other half.
    """

    resizes: tuple[float, float, float]
    shrink: float
    grow: float
    gaussian: tuple[float, float]
    poisson: tuple[float, float]

    def factor(self, generator: torch.Generator) -> float:
        """How much the sides are multiplied by."""
        spans = ((1.0, self.grow), (self.shrink, 1.0), (1.0, 1.0))
        return uniform(*spans[pick(list(self.resizes), generator)], generator)

    def noise(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The pictures with noise; its kind is one for the batch, its strength and greyness one for each picture."""
        kind, span = (gaussian_noise, self.gaussian) if bernoulli(0.5, generator) else (poisson_noise, self.poisson)
        strength = _drawn(images, span, generator)
        grey = _drawn(images, (0, 1), generator) < GREY_SHARE
        return add_noise(images, kind(images, strength, grey, _beside(images, generator)))


FIRST = Pass((0.2, 0.7, 0.1), 0.15, 1.5, (1, 30), (0.05, 3))
SECOND = Pass((0.3, 0.4, 0.3), 0.3, 1.2, (1, 25), (0.05, 2.5))
SECOND_BLUR_SHARE = 0.8


@dataclass(frozen=True)
class DegradationConfig:
    """What differs between the published trainings.

    Attributes:
        scale: sides of the clean picture over sides of the degraded one.
        gain: how far the gain may be from 1 (stage 1: .06; stage 2: .08; GAN: .06 at scale 1, .08 at 2 and 4).
        bias: how far the bias may be from 0.
        drift: largest strength of `local_drift`, 0 for the published recipe.
    """

    scale: int = 1
    gain: float = 0.06
    bias: float = 0.05
    drift: float = 0.0


def least_side(scale: int) -> int:
    """The smallest clean picture that `degrade` can take: a kernel mirrors its half width beyond every border."""
    shrunk = min(FIRST.shrink, SECOND.shrink / scale)
    return math.ceil((LARGEST // 2 + 2) / shrunk)


@dataclass(frozen=True)
class Kernels:
    """The three kernels of a batch, each (B, 21, 21)."""

    first: Tensor
    second: Tensor
    final: Tensor

    @classmethod
    def draw(cls, batch: int, generator: torch.Generator) -> "Kernels":
        """Each picture gets its own."""
        drawn = [
            (random_blur(generator, (0.2, 3.0)), random_blur(generator, (0.2, 1.5)), random_final(generator))
            for _ in range(batch)
        ]
        return cls(*(torch.stack(kernels).float() for kernels in zip(*drawn, strict=True)))


# Of `degrade_mildly`: sigma of the blur in pixels, how far a channel's gain may be from the others', JPEG quality.
MILD_BLUR, MILD_CAST, MILD_QUALITY = (0.3, 1.3), 0.03, (60.0, 95.0)


def degrade(clean: Tensor, kernels: Kernels, recipe: DegradationConfig, generator: torch.Generator) -> Tensor:
    """(B, 3, H, W) -> (B, 3, H/scale, W/scale): what a diffusion model might have made of it.

    Args:
        generator: on the CPU, whatever the pictures' device.
    """
    small = (clean.shape[-2] // recipe.scale, clean.shape[-1] // recipe.scale)
    x = blur(clean, kernels.first)
    x = resize(x, _mode(generator), scale_factor=FIRST.factor(generator))
    x = _compressed(FIRST.noise(x, generator), generator)
    if bernoulli(SECOND_BLUR_SHARE, generator):
        x = blur(x, kernels.second)
    factor = SECOND.factor(generator)
    height, width = (int(side / recipe.scale * factor) for side in clean.shape[-2:])
    x = SECOND.noise(resize(x, _mode(generator), size=(height, width)), generator)
    if bernoulli(0.5, generator):
        x = _compressed(blur(resize(x, _mode(generator), size=small), kernels.final), generator)
    else:
        x = blur(resize(_compressed(x, generator), _mode(generator), size=small), kernels.final)
    return quantise(_mismatched(x, recipe, generator))


def degrade_mildly(clean: Tensor, recipe: DegradationConfig, generator: torch.Generator) -> Tensor:
    """As `degrade`, but what is left when the pipeline is good: a slight blur, tone with a cast, JPEG, drift.

    No part of the published recipe.  Takes no kernels: its blur is a plain bell of another width for each picture.
    """
    small = (clean.shape[-2] // recipe.scale, clean.shape[-1] // recipe.scale)
    widths = [uniform(*MILD_BLUR, generator) for _ in clean]
    x = blur(clean, torch.stack([gaussian(9, width, width) for width in widths]).float())
    x = x if recipe.scale == 1 else resize(x, "area", size=small)
    cast = 1 + MILD_CAST * (2 * torch.rand(len(x), 3, 1, 1, generator=generator) - 1)
    gain = _drawn(x, (1 - recipe.gain, 1 + recipe.gain), generator)
    x = luminance(x, gain, _drawn(x, (-recipe.bias, recipe.bias), generator)) * cast.to(x)
    x = jpeg(x.clamp(0, 1), _drawn(x, MILD_QUALITY, generator))
    return quantise(drifted(x, recipe.drift, generator))


def _mode(generator: torch.Generator) -> str:
    return RESIZES[pick([1.0] * len(RESIZES), generator)]


def _compressed(images: Tensor, generator: torch.Generator) -> Tensor:
    return jpeg(images.clamp(0, 1), _drawn(images, JPEG_QUALITY, generator))


def _mismatched(images: Tensor, recipe: DegradationConfig, generator: torch.Generator) -> Tensor:
    gain = _drawn(images, (1 - recipe.gain, 1 + recipe.gain), generator)
    images = luminance(images, gain, _drawn(images, (-recipe.bias, recipe.bias), generator))
    return drifted(images, recipe.drift, generator)


def drifted(images: Tensor, strongest: float, generator: torch.Generator) -> Tensor:
    """Each picture with its own strength of `local_drift`, the batch with one coarseness."""
    if not strongest:
        return images
    cells = max(2, round(1 + images.shape[-1] / uniform(*DRIFT_SPACING, generator)))
    strength = _each(_drawn(images, (0, strongest), generator))
    return local_drift(images, strength, _beside(images, generator), cells)


def _drawn(images: Tensor, span: tuple[float, float], generator: torch.Generator) -> Tensor:
    """A number from the span for each picture, (B,), beside the pictures."""
    low, high = span
    return (low + (high - low) * torch.rand(len(images), generator=generator)).to(images.device)


def _beside(images: Tensor, generator: torch.Generator) -> torch.Generator:
    """A generator on the pictures' device, itself drawn from the CPU's."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(images.device).manual_seed(seed)


def random_crop(
    lq: Tensor, others: tuple[Tensor, ...], side: int, generator: torch.Generator
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same square from a degraded batch and from `others` at the clean picture's size, where it is `side` wide."""
    scale = others[0].shape[-1] // lq.shape[-1]
    small = side // scale
    top, left = (int(torch.randint(extent - small + 1, (), generator=generator)) for extent in lq.shape[-2:])

    def cut(images: Tensor, unit: int, width: int) -> Tensor:
        return images[..., top * unit : top * unit + width, left * unit : left * unit + width]

    return cut(lq, 1, small), tuple(cut(images, scale, side) for images in others)


class PairPool:
    """Mixes batches: what comes out was degraded at different times, so that a batch varies in what it shares.

    While the pool fills, a batch passes through; then it is swapped with as many older pairs drawn at random.

    Args:
        size: pairs kept, a multiple of the batch size.
    """

    def __init__(self, size: int = 160):
        self.size = size
        self.kept: list[tuple[Tensor, ...]] = []

    def swap(self, generator: torch.Generator, *batch: Tensor) -> tuple[Tensor, ...]:
        """Tensors (B, …) that belong together -> the same, of other pairs once the pool is full."""
        pairs = list(zip(*batch, strict=True))
        if len(self.kept) < self.size:
            self.kept += [tuple(part.clone() for part in pair) for pair in pairs]
            return batch
        places = torch.randperm(self.size, generator=generator)[: len(pairs)].tolist()
        older = [self.kept[place] for place in places]
        for place, pair in zip(places, pairs, strict=True):
            self.kept[place] = tuple(part.clone() for part in pair)
        return tuple(torch.stack(parts) for parts in zip(*older, strict=True))
