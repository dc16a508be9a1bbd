"""A seam smoothed: what still differs at the hole's edge is carried into the painting, and the original fades out.

All arrays of pictures are float32 (height, width, channels) in levels of 0 to 255.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmga.diffrir.tone import OTHER, OUTLIER

Box = tuple[slice, slice]  # rows, columns

SURELY_OTHER = 72  # levels: more always is another thing; less than `OTHER` never
SWEEPS = 12  # of relaxation at each size
EDGE = 5  # pixels: what differs in narrower places is the blur of an edge
RIM, WIDEST_RIM = 4, 16  # levels from which on, and pixels over which, another thing's rim is taken to fade
FADE = 5  # pixels inside the hole over which the original gives way
NEIGHBOURHOOD = 7  # pixels over which two pictures are compared
SLOW = 33  # pixels over which a difference that stays is a drift
GRID = 64  # pixels
NEAR = 32  # pixels around the hole from which the membrane hangs
BAND = 128  # rows that are looked at together
USUAL = 0.95  # share of the kept region that counts as showing the same thing


def blended(toned: np.ndarray, known: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The toned painting with its seam smoothed, (height, width, 3); read it in the hole only.

    Args:
        toned: as painted on both sides of the seam; known: the original.
        kept: boolean (height, width), True somewhere and False somewhere.
    """
    residual = known - toned
    alike, near = same_content(residual, kept), bounds(~kept, NEAR)
    if not alike[near].any():
        return toned
    usual = _usual(residual, kept, alike)
    result, toned, known, kept = toned.copy(), toned[near], known[near], kept[near]
    filled = toned + spread(residual[near], alike[near])
    share = _nearness(kept) * _agreement(known - filled, ~kept, usual)
    result[near] = filled + share[..., None] * (known - filled)
    return result


def bounds(marks: np.ndarray, margin: int) -> Box:
    """Rows and columns of what is True in (height, width), with a margin as far as there is one.

    Whole multiples of `GRID`, so that the membrane's coarse pixels lie where those of the whole picture do.
    """
    spans = (np.flatnonzero(marks.any(axis)) for axis in (1, 0))
    ends = ((max(int(span[0]) - margin, 0), int(span[-1]) + 1 + margin) for span in spans)
    rows, columns = (slice(start // GRID * GRID, -(-end // GRID) * GRID) for start, end in ends)
    return rows, columns


def _planes(pixels: np.ndarray) -> Tensor:
    """(height, width, channels) as (channels, height, width)."""
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def same_content(residual: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Where both pictures show the same thing, boolean (height, width): another thing painted up to the seam is no
    fault of tone, and carried into the hole it would smear.  The soft rim of what is wider than an edge belongs to
    it."""
    size = functools.reduce(np.maximum, np.abs(residual).transpose(2, 0, 1))
    usual = OUTLIER * 1.4826 * float(np.median(size[kept])) if kept.any() else 0.0
    other = kept & (size > min(max(usual, OTHER), SURELY_OTHER))
    thing = ~_grown(~other, EDGE // 2)
    if thing.any():
        odd = kept & (size > min(max(usual, RIM), OTHER / 2))
        for _ in range(EDGE // 2 + WIDEST_RIM):
            thing = _grown(thing) & odd
    return kept & ~(other | thing)


def _grown(marks: np.ndarray, reach: int = 1) -> np.ndarray:
    """Boolean (height, width), with all that is within so many pixels of a mark."""
    for axis in (0, 1):
        for _ in range(reach):
            marks = _with_neighbours(marks, axis)
    return marks


def _with_neighbours(marks: np.ndarray, axis: int) -> np.ndarray:
    grown = marks.copy()
    along, source = np.moveaxis(grown, axis, 0), np.moveaxis(marks, axis, 0)
    along[1:] |= source[:-1]
    along[:-1] |= source[1:]
    return grown


def _nearness(kept: np.ndarray) -> np.ndarray:
    """1 where kept, then falling to 0 over `FADE` pixels, (height, width)."""
    steps = kept.astype(np.uint8)
    for _ in range(FADE):
        kept = _grown(kept)
        steps += kept
    return steps / np.float32(FADE + 1)


MEASURES: tuple[Callable[[Tensor], Tensor], ...] = (lambda each: each.abs().mean(0, keepdim=True), lambda each: each)


def _usual(outside: np.ndarray, kept: np.ndarray, alike: np.ndarray) -> list[float]:
    """How large the local means of each measure usually are where both show the same thing, in levels.

    Both the size of a difference and its mean are looked at: another tone is no agreement, however small.  A slow drift
    is taken out first, since the membrane takes it out of the painting, too.

    Args:
        outside: (height, width, channels), original less painting, read where kept; kept, alike: (height, width).
    """
    found = [_sizes_of_band(outside, kept, alike, first) for first in range(0, len(kept), BAND)]
    sizes = (np.concatenate(each) for each in zip(*found, strict=True))
    return [max(float(np.quantile(size, USUAL)), 1.0) for size in sizes]


def _sizes_of_band(outside: np.ndarray, kept: np.ndarray, alike: np.ndarray, first: int) -> list[np.ndarray]:
    """Each measure where alike, of `BAND` rows from the first: bands need little memory and stay in the cache."""
    reach = SLOW // 2 + NEIGHBOURHOOD // 2
    above = min(first, reach)
    rows = slice(first - above, first + BAND + reach)
    values, where = _planes(outside[rows]), torch.from_numpy(kept[rows])
    still = values - _local_mean(values, where, SLOW)
    chosen = torch.from_numpy(alike[first : first + BAND])
    sizes = (_local_mean(measure(still), where, NEIGHBOURHOOD).abs().amax(0) for measure in MEASURES)
    return [size[above : above + BAND][chosen].numpy() for size in sizes]


def _agreement(inside: np.ndarray, hole: np.ndarray, usual: list[float]) -> np.ndarray:
    """1 where original and painting differ no more than they usually do where they are alike, 0 from twice as
    much on, (height, width): what was cut in two by the mask, or is new, must not be faded into.

    Args:
        inside: (height, width, channels), original less filled painting, read in the hole.
    """
    values, where = _planes(inside), torch.from_numpy(hole)
    sizes = (_local_mean(measure(values), where, NEIGHBOURHOOD).abs().amax(0) for measure in MEASURES)
    excess = functools.reduce(torch.maximum, (size / most for size, most in zip(sizes, usual, strict=True)))
    return (2 - excess).clamp(0, 1).numpy()


def _local_mean(values: Tensor, where: Tensor, side: int) -> Tensor:
    """Mean over the pixels that count in a square around each one, (channels, height, width)."""
    count = _square_sum(where[None].float(), side)
    return _square_sum(values * where, side).div_(count.clamp_min_(1))


def _square_sum(values: Tensor, side: int) -> Tensor:
    """Sums over squares of an odd side around each pixel, nothing being beyond the border."""
    for axis in (-1, -2):
        margin = side // 2
        values = _run_sum(F.pad(values, (margin, margin) if axis == -1 else (0, 0, margin, margin)), side, axis)
    return values


def _run_sum(values: Tensor, length: int, axis: int) -> Tensor:
    """Sums of `length` neighbours by doubling, which unlike a running sum loses no digits."""
    count = values.shape[axis] - length + 1
    parts, start, run = [], 0, 1  # `values` are sums of `run` neighbours
    while True:
        if length & run:
            parts.append(values.narrow(axis, start, count))
            start += run
        if start == length:
            return sum(parts[1:], parts[0])
        whole = values.shape[axis] - run
        values = values.narrow(axis, 0, whole) + values.narrow(axis, run, whole)
        run *= 2


def spread(residual: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """What differs on the kept side of the seam, carried into the hole as a membrane would: fine ripples fade within
    a few pixels, a slow drift reaches across.

    Args:
        residual: (height, width, channels), read where kept only.
        kept: boolean (height, width), True somewhere.

    Returns:
        (height, width, channels); in the hole without jumps, elsewhere the residual itself.
    """
    known = torch.from_numpy(kept)
    return _membrane((_planes(residual) * known)[None], known[None, None])[0].permute(1, 2, 0).numpy()


def _membrane(values: Tensor, known: Tensor) -> Tensor:
    """Fill (1, C, H, W) where not known: begin with the answer at half the size, then relax."""
    if known.all():
        return values
    share = _halved(known.float())
    coarse = _membrane(_halved(values) / share.clamp_min(1e-6), share > 0)
    filled = F.interpolate(coarse, values.shape[-2:], mode="bilinear", align_corners=False)
    ring = F.pad(torch.where(known, values, filled), (1, 1, 1, 1))
    middle = ring[..., 1:-1, 1:-1]
    for _ in range(SWEEPS):
        _close(ring)
        torch.add(ring[..., 1:-1, :-2], ring[..., 1:-1, 2:], out=filled)
        filled.add_(ring[..., :-2, 1:-1]).add_(ring[..., 2:, 1:-1]).mul_(0.25)
        torch.where(known, values, filled, out=middle)
    return middle


def _close(ring: Tensor) -> None:
    """Repeat the outermost pixels in the frame around them."""
    ring[..., 0], ring[..., -1] = ring[..., 1], ring[..., -2]
    ring[..., 0, :], ring[..., -1, :] = ring[..., 1, :], ring[..., -2, :]


def _halved(x: Tensor) -> Tensor:
    """Means of 2x2 pixels; the last row and column of an odd side stand for themselves."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
