"""How near a restored picture is to the truth, looked at only where it was painted."""

import torch
from torch import Tensor

from llmga.diffrir.degradation import blur
from llmga.diffrir.kernels import gaussian

LUMA = (65.481, 128.553, 24.966)  # BT.601, 16 to 235
WINDOW, SIGMA = 11, 1.5  # of SSIM


def luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 1, H, W), 16 to 235: what the published figures are taken on."""
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True) + 16


def masked_psnr(output: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """dB on the luma, (B,), of pictures (B, 3, H, W) in [0, 1] where the mask (B, 1, H, W) is 1; nan where nowhere."""
    error = _mean((luma(output) - luma(truth)).square(), mask)
    return 10 * torch.log10(255**2 / error.clamp_min(1e-3))


def masked_ssim(output: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Structural similarity on the luma (Wang et al. 2004), (B,), averaged over the masked pixels."""
    kernel = gaussian(WINDOW, SIGMA, SIGMA)[None]
    x, y = luma(output), luma(truth)
    mean_x, mean_y, xx, yy, xy = (blur(part, kernel) for part in (x, y, x * x, y * y, x * y))
    small, smaller = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance = 2 * (xy - mean_x * mean_y) + smaller
    variances = (xx - mean_x.square()) + (yy - mean_y.square()) + smaller
    likeness = (2 * mean_x * mean_y + small) / (mean_x.square() + mean_y.square() + small)
    return _mean(likeness * covariance / variances, mask)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
