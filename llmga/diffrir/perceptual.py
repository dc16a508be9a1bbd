"""How alike pictures look, as networks see it: LPIPS and DISTS, where their weights are at hand.

Nothing is fetched.  A folder (`checkpoints/Training/metrics`) may hold torchvision's `vgg16-397923af.pth` and, beside
it, the files of the two metrics' authors: `lpips-vgg.pth` (their `weights/v0.1/vgg.pth`) and `dists.pt` (their
`weights.pt`).  Both metrics are 0 for two equal pictures.
"""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmga.diffrir.vgg import VGG16, Features, fill
from llmga.errors import UserError

FOLDER = "checkpoints/Training/metrics"
VGG_FILE, LPIPS_FILE, DISTS_FILE = "vgg16-397923af.pth", "lpips-vgg.pth", "dists.pt"
TAPS = {"1": 3, "2": 8, "3": 15, "4": 22, "5": 29}  # the last rectifier before each halving
LEAST = 32  # pixels a side that five halvings need
Metric = Callable[[Tensor, Tensor], Tensor]


class Lpips:
    """Learned perceptual patch similarity, VGG variant (Zhang et al. 2018).

    Args:
        weights: for each tap, (channels,), how much each channel counts.
    """

    def __init__(self, features: Features, weights: list[Tensor]):
        self.features = features
        self.weights = weights

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] twice -> (B,)."""
        pairs = zip(self.features(one).values(), self.features(other).values(), self.weights, strict=True)
        first, *others = (_distance(a, b, weight) for a, b, weight in pairs)
        return sum(others, first)


def _distance(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    a, b = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (a, b))
    return ((a - b).square() * weight.view(-1, 1, 1)).sum(1).mean((1, 2))


class SmoothPool(nn.Module):
    """Halves the sides by root mean squares under a small bell, which does not alias."""

    kernel: Tensor

    def __init__(self, channels: int):
        super().__init__()
        bell = torch.hann_window(5, periodic=False)[1:-1]
        kernel = bell[:, None] * bell
        self.register_buffer("kernel", (kernel / kernel.sum()).expand(channels, 1, 3, 3).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        squares = F.conv2d(x.square(), self.kernel, stride=2, padding=1, groups=len(self.kernel))
        return (squares + 1e-12).sqrt()


class Dists:
    """Deep image structure and texture similarity (Ding et al. 2020).

    Args:
        features: VGG16 with `SmoothPool`.
        alpha: weights of texture, (1475,): the picture's own channels and then those of the taps.
        beta: weights of structure, (1475,).
    """

    def __init__(self, features: Features, alpha: Tensor, beta: Tensor):
        whole = alpha.sum() + beta.sum()
        self.features = features
        self.alpha: Tensor = alpha / whole
        self.beta: Tensor = beta / whole

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] twice -> (B,)."""
        texture, structure = [], []
        for a, b in zip(self._maps(one), self._maps(other), strict=True):
            mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
            variances = a.var((2, 3), correction=0) + b.var((2, 3), correction=0)
            covariance = (a * b).mean((2, 3)) - mean_a * mean_b
            texture.append((2 * mean_a * mean_b + 1e-6) / (mean_a.square() + mean_b.square() + 1e-6))
            structure.append((2 * covariance + 1e-6) / (variances + 1e-6))
        return 1 - torch.cat(texture, 1) @ self.alpha - torch.cat(structure, 1) @ self.beta

    def _maps(self, images: Tensor) -> list[Tensor]:
        return [images, *self.features(images).values()]


def at_hand(folder: str | Path = FOLDER, device: torch.device | str = "cpu") -> dict[str, Metric]:
    """The metrics whose weights lie in the folder, by name.

    Raises:
        UserError: when a file is there and holds something else.
    """
    folder = Path(folder)
    found: dict[str, Metric] = {}
    if not (folder / VGG_FILE).is_file():
        return found
    if (folder / LPIPS_FILE).is_file():
        state = _read(folder / LPIPS_FILE)
        weights = [_vector(state, f"lin{place}.model.1.weight", folder / LPIPS_FILE) for place in range(len(TAPS))]
        # LPIPS states its normalisation for [-1, 1]; for [0, 1] it is ImageNet's.
        features = _filled(Features(VGG16, TAPS), folder, device)
        found["lpips"] = Lpips(features, [weight.to(device) for weight in weights])
    if (folder / DISTS_FILE).is_file():
        state = _read(folder / DISTS_FILE)
        alpha, beta = (_vector(state, name, folder / DISTS_FILE).to(device) for name in ("alpha", "beta"))
        found["dists"] = Dists(_filled(Features(VGG16, TAPS, pool=SmoothPool), folder, device), alpha, beta)
    return found


def _filled(features: Features, folder: Path, device: torch.device | str) -> Features:
    return fill(features, folder / VGG_FILE, f"VGG16; give torchvision's file, {VGG_FILE}").to(device)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError):
        raise UserError(f"{str(path)!r} cannot be read as weights; copy it again or remove it.") from None


def _vector(state: dict[str, Tensor], key: str, path: Path) -> Tensor:
    if not isinstance(state, dict) or key not in state:
        raise UserError(f"{str(path)!r} lacks {key!r}; copy it again or remove it.")
    return state[key].detach().flatten().float()


def around(mask: Tensor) -> tuple[slice, slice] | None:
    """Rows and columns of a mask's (H, W) bounding box, at least `LEAST` a side; None without a painted pixel."""
    spans = []
    for axis in (1, 0):
        (places,) = torch.nonzero(mask.any(axis), as_tuple=True)
        if not len(places) or mask.shape[1 - axis] < LEAST:
            return None
        length = max(int(places[-1] - places[0]) + 1, LEAST)
        start = min(int(places[0]), mask.shape[1 - axis] - length)
        spans.append(slice(start, start + length))
    return spans[0], spans[1]
