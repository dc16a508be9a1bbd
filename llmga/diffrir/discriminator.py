"""The U-net that judges every pixel of a restored picture as real or made (Real-ESRGAN, section 3.3)."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm  # its older form: the published keys are `weight_orig`, `weight_u`, `weight_v`

SLOPE = 0.2


class Discriminator(nn.Module):
    """Three halvings, three doublings; each forward pass in training mode refines the spectral norms once.

    Args:
        num_feat: channels of the first level.
        skip_connection: add each level on the way down to the one of its size on the way up.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, skip_connection: bool = True):
        super().__init__()
        self.skip_connection = skip_connection
        width = num_feat
        self.conv0: nn.Conv2d = nn.Conv2d(num_in_ch, width, 3, padding=1)
        self.conv1: nn.Conv2d = _halving(width)
        self.conv2: nn.Conv2d = _halving(2 * width)
        self.conv3: nn.Conv2d = _halving(4 * width)
        self.conv4: nn.Conv2d = _plain(8 * width, 4 * width)
        self.conv5: nn.Conv2d = _plain(4 * width, 2 * width)
        self.conv6: nn.Conv2d = _plain(2 * width, width)
        self.conv7: nn.Conv2d = _plain(width, width)
        self.conv8: nn.Conv2d = _plain(width, width)
        self.conv9: nn.Conv2d = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], sides multiples of 8 -> logits (B, 1, H, W), positive for real."""
        down = [_bent(self.conv0(x))]
        for halve in (self.conv1, self.conv2, self.conv3):
            down.append(_bent(halve(down[-1])))
        x = down.pop()
        for shrink in (self.conv4, self.conv5, self.conv6):
            x = _bent(shrink(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)))
            skipped = down.pop()
            x = x + skipped if self.skip_connection else x
        return self.conv9(_bent(self.conv8(_bent(self.conv7(x)))))


def _bent(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def _halving(width: int) -> nn.Conv2d:
    return spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False))


def _plain(width: int, out: int) -> nn.Conv2d:
    return spectral_norm(nn.Conv2d(width, out, 3, padding=1, bias=False))
