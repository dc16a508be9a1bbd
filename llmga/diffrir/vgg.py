"""Networks that know pictures: the convolutions of VGG, frozen, from torchvision's published files.

What their layers see is what the perceptual loss and the perceptual metrics compare.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from llmga.errors import UserError

Plan = tuple[int | str, ...]  # widths of convolutions, and "pool" between them
VGG16: Plan = (64, 64, "pool", 128, 128, "pool", *[256] * 3, "pool", *[512] * 3, "pool", *[512] * 3)
VGG19: Plan = (64, 64, "pool", 128, 128, "pool", *[256] * 4, "pool", *[512] * 4, "pool", *[512] * 4)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Features(nn.Module):
    """What some layers see.  Keys are those of torchvision's files (`features.0.weight` …).

    Args:
        taps: places in `features` whose output is wanted, by the name that it gets.
        pool: makes what halves the sides, given the channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        plan: Plan,
        taps: Mapping[str, int],
        pool: Callable[[int], nn.Module] = lambda channels: nn.MaxPool2d(2),
    ):
        super().__init__()
        self.names: dict[int, str] = {place: name for name, place in taps.items()}
        self.features: nn.Sequential = nn.Sequential(*_layers(plan, pool)[: max(taps.values()) + 1])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) in [0, 1] -> features by name."""
        x, found = (images - self.mean) / self.std, {}
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.names:
                found[self.names[place]] = x
        return found


def _layers(plan: Plan, pool: Callable[[int], nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for width in plan:
        if isinstance(width, str):
            layers.append(pool(channels))
        else:
            # Not in place: a tap before its rectifier would see what comes after it.
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return layers


def fill(features: Features, path: str | Path, about: str) -> Features:
    """Give the network its weights from torchvision's file; `about` says which, for the complaint.

    Raises:
        UserError: when the file holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        features.load_state_dict({key: state[key] for key in features.state_dict()})
    except (OSError, RuntimeError, KeyError, EOFError, ValueError, TypeError, UnpicklingError):
        raise UserError(f"{str(path)!r} holds no weights of {about}.") from None
    return features
