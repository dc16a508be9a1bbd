"""What training minimises: single losses, and for each phase which of them count.

Every phase returns its losses by name, unweighted by anything but what the published recipe fixes; what is to be
minimised is `total` of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from llmga.diffrir.diffusion import prior_kl
from llmga.diffrir.model import Stage1, Stage2, network_input
from llmga.diffrir.vgg import VGG19, Features, fill

Losses = dict[str, Tensor]
LOGGED_ONLY = ("prior_kl",)
# Layers of VGG19 before their rectifier, by their place in torchvision's `features`, and what each counts.
PERCEPTUAL_LAYERS = {"conv1_2": 2, "conv2_2": 7, "conv3_4": 16, "conv4_4": 25, "conv5_4": 34}
PERCEPTUAL_WEIGHTS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}


@dataclass(frozen=True)
class Pair:
    """One batch of training pairs, all in [0, 1].

    Attributes:
        lq: (B, 3, H, W), what a diffusion model would have left.
        gt: (B, 3, H s, W s), what is aimed at and what the reference is cut from: the original, sharpened in GAN-V2.
        mask: (B, 1, H s, W s), 1 where it was painted.
        real: (B, 3, H s, W s), what the judge is shown as real: the original, never sharpened.
    """

    lq: Tensor
    gt: Tensor
    mask: Tensor
    real: Tensor | None = None

    @property
    def net_input(self) -> Tensor:
        return network_input(self.lq, self.gt, self.mask, self.gt.shape[-1] // self.lq.shape[-1])


def total(losses: Losses) -> Tensor:
    """The sum of what counts."""
    first, *others = (loss for name, loss in losses.items() if name not in LOGGED_ONLY)
    return sum(others, first)


def composite(output: Tensor, gt: Tensor, mask: Tensor) -> Tensor:
    """The output under the mask, the original beside it."""
    return output * mask + gt * (1 - mask)


def stage1_losses(model: Stage1, pair: Pair, *, composited: bool = False) -> Losses:
    """The teacher: restore, given a prior of the clean picture."""
    output = model(pair.net_input, pair.gt)[0]
    return {"image": F.l1_loss(composite(output, pair.gt, pair.mask) if composited else output, pair.gt)}


def prior_phase_losses(model: Stage2, teacher: Stage1, pair: Pair, noise: Tensor) -> Losses:
    """Stage 2, first phase: only condition and denoiser learn, to give the teacher's prior.

    Args:
        noise: (B, 256) of unit variance, what makes the teacher's prior noisy.
    """
    net_input, wanted = pair.net_input, _teacher_prior(teacher, pair)
    return _prior_losses(model.denoised(net_input, wanted, noise)[-1], wanted)


def joint_phase_losses(
    model: Stage2, teacher: Stage1, pair: Pair, noise: Tensor, *, composited: bool
) -> tuple[Losses, Tensor]:
    """Stage 2, second phase, and the generator's part of the adversarial stages: everything learns.

    Args:
        composited: compare only what was painted (the recipe of scale 1 in stage 2).

    Returns:
        The losses, and the restored picture (B, 3, H s, W s) as it left the network.
    """
    wanted = _teacher_prior(teacher, pair)
    output, path = model.train_forward(pair.net_input, wanted, noise)
    compared = composite(output, pair.gt, pair.mask) if composited else output
    return {"image": F.l1_loss(compared, pair.gt), **_prior_losses(path[-1], wanted)}, output


def _teacher_prior(teacher: Stage1, pair: Pair) -> Tensor:
    with torch.no_grad():
        return teacher.prior(pair.net_input, pair.gt)


def _prior_losses(prior: Tensor, wanted: Tensor) -> Losses:
    return {"prior": F.l1_loss(prior, wanted), "prior_kl": prior_kl(prior, wanted)}


def adversarial_loss(logits: Tensor, real: bool) -> Tensor:
    """How far a judge's logits are from saying `real`."""
    return F.softplus(-logits if real else logits).mean()


def perceptual_loss(made: Mapping[str, Tensor], real: Mapping[str, Tensor]) -> Tensor:
    """Mean absolute differences of features by layer name, weighted."""
    first, *others = (weight * F.l1_loss(made[name], real[name]) for name, weight in PERCEPTUAL_WEIGHTS.items())
    return sum(others, first)


def load_perceptual(path: str | Path) -> Features:
    """Features of the perceptual loss from torchvision's published VGG19 weights.

    Raises:
        UserError: when the file holds something else.
    """
    return fill(Features(VGG19, PERCEPTUAL_LAYERS), path, "VGG19; give torchvision's file, vgg19-dcbb9e9d.pth, or none")
