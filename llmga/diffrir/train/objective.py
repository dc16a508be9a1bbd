"""What is learnt, as one module per phase: a batch of pairs in, losses by name out.

The module is what accelerate wraps, so that every phase has one `forward`.  A frozen teacher is held but is no part of
it: it is neither wrapped nor saved.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from llmga.diffrir.losses import (
    Losses,
    Pair,
    adversarial_loss,
    joint_phase_losses,
    perceptual_loss,
    prior_phase_losses,
    stage1_losses,
)
from llmga.diffrir.model import Stage1, Stage2
from llmga.diffrir.vgg import Features
from llmga.registry import Registry

Network = TypeVar("Network", Stage1, Stage2)


class PhaseObjective(nn.Module, Generic[Network]):
    """What is learnt in one phase.

    Args:
        network: what learns.
        teacher: a frozen stage-1 network on the same device; stage 1 itself has none.
        composited: compare only what was painted.
    """

    network: Network

    def __init__(self, network: Network, teacher: Stage1 | None = None, *, composited: bool = False):
        super().__init__()
        self.network = network
        self.composited = composited
        self._teacher = (teacher,)  # in a tuple, so that it is no sub-module

    @property
    def teacher(self) -> Stage1:
        """The frozen network, in the phases that have one."""
        (teacher,) = self._teacher
        assert teacher is not None
        return teacher


class Teacher(PhaseObjective[Stage1]):
    """Stage 1: image network and prior encoder learn together."""

    def forward(self, pair: Pair, noise: Tensor) -> tuple[Losses, Tensor | None]:
        """Noise is not used here."""
        return stage1_losses(self.network, pair, composited=self.composited), None


class Prior(PhaseObjective[Stage2]):
    """Stage 2, first phase: condition and denoiser learn to say the teacher's prior; the image network rests."""

    def __init__(self, network: Stage2, teacher: Stage1, *, composited: bool = False):
        super().__init__(network, teacher, composited=composited)
        network.G.requires_grad_(False)

    def forward(self, pair: Pair, noise: Tensor) -> tuple[Losses, Tensor | None]:
        """Noise (B, 256) of unit variance makes the teacher's prior noisy."""
        return prior_phase_losses(self.network, self.teacher, pair, noise), None


class Joint(PhaseObjective[Stage2]):
    """Stage 2, second phase, and the restorer's part of the adversarial stages: everything learns."""

    def forward(self, pair: Pair, noise: Tensor) -> tuple[Losses, Tensor | None]:
        """Also returns what was restored, (B, 3, H s, W s)."""
        return joint_phase_losses(self.network, self.teacher, pair, noise, composited=self.composited)


OBJECTIVES: Registry[type[PhaseObjective[Any]]] = Registry(
    "objective", {"teacher": Teacher, "prior": Prior, "joint": Joint, "adversarial": Joint}
)


class Opponent:
    """The discriminator's side of the adversarial stages, and how pictures look to a network that knows pictures.

    Args:
        judge: a `Discriminator` in training mode.
        features: for the perceptual loss; None leaves it out.
    """

    def __init__(self, judge: nn.Module, features: Features | None = None):
        self.judge = judge
        self.features = features

    def losses(self, output: Tensor, pair: Pair) -> Losses:
        """What the restorer has to mend, in the opponent's eyes; the judge itself learns nothing here."""
        judge = getattr(self.judge, "module", self.judge)  # unwrapped: no gradients of it are to be shared
        judge.requires_grad_(False)
        losses = {"adversarial": adversarial_loss(judge(output), real=True)}
        judge.requires_grad_(True)
        if self.features is not None:
            losses["perceptual"] = perceptual_loss(self.features(output), self.features(pair.gt))
        return losses

    def lessons(self, output: Tensor, pair: Pair) -> Iterator[tuple[Losses, Tensor]]:
        """First real, then restored pictures: the loss to be back-propagated before the next is asked for, and the
        mean logit."""
        shown = (
            ("judge_real", pair.gt if pair.real is None else pair.real, True),
            ("judge_fake", output.detach(), False),
        )
        for name, pictures, real in shown:
            logits = self.judge(pictures)
            yield {name: adversarial_loss(logits, real)}, logits.detach().mean()
