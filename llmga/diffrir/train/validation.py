"""A run looked at from outside: pictures that it never learns from, always degraded and masked in the same way."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from llmga.diffrir.layers import PRIOR_WIDTH
from llmga.diffrir.losses import Pair, composite
from llmga.diffrir.metrics import masked_psnr, masked_ssim
from llmga.diffrir.model import WINDOW, Stage1, Stage2
from llmga.diffrir.perceptual import Metric, around, at_hand
from llmga.diffrir.train.config import RestorerConfig
from llmga.diffrir.train.dataset import cut, opened, read_list, square
from llmga.diffrir.train.pairs import PairMaker
from llmga.training.skipped import SkippedImages, Unreadable, none_usable
from llmga.training.stream import PAIR, seed_of


class RestorerValidation:
    """Scores a network on the pictures of a list.

    Args:
        config: of the run.
        listed: the file of the list.
        device: where the network is.
        network_matched: as in `PairMaker`.
    """

    def __init__(self, config: RestorerConfig, listed: str, device: torch.device, network_matched: bool):
        self.config = config
        self.names: list[str] = read_list(listed)
        whole = config.picture // WINDOW * WINDOW
        self.pairs: PairMaker = PairMaker(replace(config, pool=0, patch=whole), device, network_matched)
        self.device = device
        self.skipped: SkippedImages = SkippedImages(config.run)
        self.perceptual: dict[str, Metric] = at_hand(config.metrics, device)

    def _pairs(self) -> Iterator[tuple[Pair, Tensor]]:
        """One picture at a time, with the noise that its restoration starts from; damaged ones are reported.

        Raises:
            UserError: all are.
        """
        transform = square(self.config.picture, random=False)
        damaged: dict[str, Unreadable] = {}
        for number, name in enumerate(self.names):
            try:
                picture = opened(Path(self.config.images, name))
            except Unreadable as problem:
                damaged[name] = problem
                continue
            generator = torch.Generator().manual_seed(seed_of(self.config.seed, PAIR, number))
            pair = self.pairs.make(cut(transform, picture), generator)
            if pair.mask.any():  # else there is nothing to be scored
                yield pair, torch.randn(1, PRIOR_WIDTH, generator=generator).to(self.device)
        if len(damaged) == len(self.names):
            raise none_usable(list(damaged.values()))
        self.skipped.report_all(damaged)

    @torch.inference_mode()
    def figures(self, network: Stage1 | Stage2) -> dict[str, float]:
        """Means over the list: `psnr` (dB) and `ssim` inside the mask, what the degraded pictures have (`psnr_before`,
        where they are of the output's size), and around the mask the perceptual metrics that are at hand."""
        found: dict[str, list[float]] = {}
        was_training = network.training
        network.eval()
        for pair, noise in self._pairs():
            for name, value in self._figures(network, pair, noise).items():
                found.setdefault(name, []).append(value)
        network.train(was_training)
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _figures(self, network: Stage1 | Stage2, pair: Pair, noise: Tensor) -> dict[str, float]:
        output = network(pair.net_input, noise) if isinstance(network, Stage2) else network(pair.net_input, pair.gt)[0]
        output = composite(output.clamp(0, 1), pair.gt, pair.mask)
        given = {"psnr": masked_psnr(output, pair.gt, pair.mask), "ssim": masked_ssim(output, pair.gt, pair.mask)}
        if pair.lq.shape == pair.gt.shape:
            given["psnr_before"] = masked_psnr(pair.lq, pair.gt, pair.mask)
        if self.perceptual and (window := around(pair.mask[0, 0])):
            both = [picture[..., window[0], window[1]] for picture in (output, pair.gt)]
            given |= {name: metric(*both) for name, metric in self.perceptual.items()}
        return {name: value.item() for name, value in given.items()}
