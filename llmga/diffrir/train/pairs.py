"""CleanBatch pictures to training pairs, as batched operations on the device that trains."""

import numpy as np
import torch
from torch import Tensor

from llmga.diffrir.degradation import (
    DegradationConfig,
    Kernels,
    PairPool,
    degrade,
    degrade_mildly,
    quantise,
    random_crop,
    sharpen,
)
from llmga.diffrir.losses import Pair
from llmga.diffrir.masks import random_masks
from llmga.diffrir.matching import matched
from llmga.diffrir.train.config import RestorerConfig
from llmga.diffrir.train.dataset import CleanBatch
from llmga.diffrir.vae import RoundTrip

ENOUGH = 10_000  # pixels for a fit of the tone; there are many fits


class PairMaker:
    """Makes pairs by a configuration.

    Args:
        network_matched: whether the network sees pictures in the reference's tone.
    """

    def __init__(self, config: RestorerConfig, device: torch.device, network_matched: bool):
        self.config = config
        self.device = device
        self.matched = network_matched
        self.recipe: DegradationConfig = DegradationConfig(config.scale, config.gain, config.bias, config.drift)
        self.pool: PairPool | None = PairPool(config.pool) if config.pool else None
        self.vae: RoundTrip | None = RoundTrip(config.vae, device) if config.vae else None

    def make(self, clean: CleanBatch, generator: torch.Generator) -> Pair:
        """All randomness comes from the generator, which is on the CPU."""
        real = clean.pictures.to(self.device).float() / 255
        target = sharpen(real) if self.config.sharpened else real
        lq = self._degraded(target, generator)
        masks = self._masks(clean, generator)
        lq, (target, real, masks) = random_crop(lq, (target, real, masks), self.config.patch, generator)
        if self.pool:
            lq, target, real = self.pool.swap(generator, lq, target, real)
        if self.matched:
            lq = matched(lq, target, masks, ENOUGH)
        return Pair(lq, target, masks, real)

    def _degraded(self, target: Tensor, generator: torch.Generator) -> Tensor:
        painted = self.vae.sometimes(target, generator) if self.vae else target
        if self.config.degradation == "mild":
            return degrade_mildly(painted, self.recipe, generator)
        return degrade(painted, Kernels.draw(len(target), generator), self.recipe, generator)

    def _masks(self, clean: CleanBatch, generator: torch.Generator) -> Tensor:
        if clean.masks is not None:
            return clean.masks.to(self.device).float()
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        side = clean.pictures.shape[-1]
        return random_masks(len(clean.pictures), (side, side), rng).to(self.device)

    def state(self) -> dict[str, Tensor]:
        """The pool, for a checkpoint; whole levels as bytes, which say the same."""
        if not self.pool or not self.pool.kept:
            return {}
        parts = (torch.stack(part) for part in zip(*self.pool.kept, strict=True))
        return {str(number): _small(part).cpu() for number, part in enumerate(parts)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        if self.pool is None:
            return
        parts = [_whole(state[str(number)].to(self.device)) for number in range(len(state))]
        self.pool.kept = list(zip(*(part.unbind() for part in parts), strict=True))


def _small(pictures: Tensor) -> Tensor:
    exact = torch.equal(quantise(pictures), pictures)
    return (pictures * 255).round().to(torch.uint8) if exact else pictures


def _whole(pictures: Tensor) -> Tensor:
    return pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures
