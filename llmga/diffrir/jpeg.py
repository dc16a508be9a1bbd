"""What JPEG does to pictures, as one batched operation on any device, with a quality for each picture.

Everything but the lossless coding: colour transform, halved chroma, 8x8 cosines, rounding by the tables of annex K.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

BLOCK, PATCH = 8, 16  # of cosines; of pixels that share chroma blocks
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Compress and open again: (B, 3, H, W) in [0, 1], (B,) from 1 to 100 -> (B, 3, H, W) in [0, 1]."""
    height, width = images.shape[-2:]
    factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50).view(-1, 1, 1, 1)
    padded = F.pad(images * 255, (0, -width % PATCH, 0, -height % PATCH))
    y, cb, cr = (padded.permute(0, 2, 3, 1) @ padded.new_tensor(TO_YCBCR).T).unbind(-1)
    # The published simulation lays the table of the luminance on its side; the other one is symmetric.
    y = _coarse(y - 128, factor * padded.new_tensor(LUMINANCE).T) + 128
    # Chroma lies around zero, so nothing is to be taken away before the cosines.
    cb, cr = (_halved(channel, factor * padded.new_tensor(CHROMINANCE)) for channel in (cb, cr))
    rgb = torch.stack([y, cb, cr], dim=-1) @ padded.new_tensor(TO_RGB).T
    return rgb.permute(0, 3, 1, 2)[..., :height, :width].clamp(0, 255) / 255


def _halved(channel: Tensor, table: Tensor) -> Tensor:
    small = _coarse(F.avg_pool2d(channel[:, None], 2)[:, 0], table)
    return small.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)


def _coarse(channel: Tensor, table: Tensor) -> Tensor:
    """Cosine coefficients rounded to multiples of the table: (B, H, W), (B, 1, 8, 8) -> (B, H, W)."""
    blocks = rearrange(channel, "b (h p) (w q) -> b (h w) p q", p=BLOCK, q=BLOCK)
    cosines = _cosines().to(channel)
    coefficients = torch.round(cosines @ blocks @ cosines.T / table) * table
    blocks = cosines.T @ coefficients @ cosines
    return rearrange(blocks, "b (h w) p q -> b (h p) (w q)", h=channel.shape[1] // BLOCK)


@cache
def _cosines() -> Tensor:
    """The orthonormal transform, (frequency, place)."""
    place = torch.arange(BLOCK, dtype=torch.float64)
    matrix = torch.cos((2 * place + 1) * place[:, None] * math.pi / (2 * BLOCK)) * 0.5
    matrix[0] = 1 / math.sqrt(BLOCK)
    return matrix
