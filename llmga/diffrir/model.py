"""The restoration network: a prior encoder, a U-net of steered blocks, and the diffusion that replaces the encoder.

Names of parts are those of the published checkpoints (`G`, `E`, `condition`, `denoise`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from llmga.diffrir.diffusion import Denoiser, PriorDiffusion
from llmga.diffrir.layers import PRIOR_WIDTH, SLOPE, Block, Down, Level, Residual, Up, convolve, fold, unfold
from llmga.errors import UserError

SCALES = (1, 2, 4)
FINEST = 4  # features lie at a quarter of the output's sides, whatever the scale
WINDOW = 32  # output pixels: a quarter, halved three times


@dataclass(frozen=True)
class DiffRIRConfig:
    """What distinguishes one network from another; the defaults are the published ones.

    Attributes:
        scale: sides of the output over sides of the input, 1, 2 or 4.
        dim: channels of the first level; each deeper level has twice as many.
        num_blocks: blocks of the four levels.
        LayerNorm_type: "BiasFree" or "WithBias".
        n_encoder_res: residual blocks of the prior encoder.
        n_denoise_res: hidden layers of the denoiser.
        linear_start: first beta of the prior's diffusion.
        linear_end: last beta of the prior's diffusion.
        matched: the picture is brought to the reference's tone and freed of slow drifts (`matching.matched`) before
            the network sees it, and at scale 1 the seam of the result is blended; no published network is made so.
    """

    scale: int = 1
    dim: int = 64
    num_blocks: tuple[int, ...] = (13, 1, 1, 1)
    num_refinement_blocks: int = 13
    heads: tuple[int, ...] = (1, 2, 4, 8)
    ffn_expansion_factor: float = 2.2
    bias: bool = False
    LayerNorm_type: str = "BiasFree"
    n_encoder_res: int = 9
    n_denoise_res: int = 1
    linear_start: float = 0.1
    linear_end: float = 0.99
    timesteps: int = 4
    matched: bool = False

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UserError(f"scale {self.scale} is not possible; use one of {', '.join(map(str, SCALES))}.")
        if self.LayerNorm_type not in ("BiasFree", "WithBias"):
            raise UserError(f"LayerNorm_type {self.LayerNorm_type!r} is unknown; use BiasFree or WithBias.")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "DiffRIRConfig":
        """From a mapping such as a published options file; keys that decide nothing here are left aside.

        The published `inp_channels` is one of them: what the network reads follows from the scale.
        """
        known = {field.name for field in fields(cls)}
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known
        }
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @property
    def unit(self) -> int:
        """Input pixels a side that become one feature: 4, 2 or 1."""
        return FINEST // self.scale

    @property
    def channels(self) -> int:
        """Channels of the input once folded to features: 96, 60 or 51."""
        return 3 * (1 + self.scale**2) * self.unit**2


def network_input(lq: Tensor, gt: Tensor, mask: Tensor, scale: int) -> Tensor:
    """The picture to restore beside what is known of the original, hidden under the mask.

    Args:
        lq: (B, 3, H, W) in [0, 1].
        gt: (B, 3, H s, W s), the original at the output's size.
        mask: (B, 1, H s, W s), 1 where the picture was generated.

    Returns:
        (B, 3 + 3 s s, H, W).
    """
    return torch.cat([lq, F.pixel_unshuffle((1 - mask) * gt, scale)], dim=1)


class PriorEncoder(nn.Module):
    """Pictures to one vector: convolutions, their mean over all pixels, two linear layers."""

    def __init__(self, channels: int, residuals: int):
        super().__init__()
        wide = [conv(64, 128), conv(128, 128), conv(128, PRIOR_WIDTH)]
        self.E: nn.Sequential = nn.Sequential(
            *(conv(channels, 64), nn.LeakyReLU(SLOPE)),
            *(Residual(64) for _ in range(residuals)),
            *(layer for each in wide for layer in (each, nn.LeakyReLU(SLOPE))),
        )
        self.mlp: nn.Sequential = nn.Sequential(
            nn.Linear(PRIOR_WIDTH, PRIOR_WIDTH), nn.LeakyReLU(SLOPE),
            nn.Linear(PRIOR_WIDTH, PRIOR_WIDTH), nn.LeakyReLU(SLOPE),
        )  # fmt: skip
        self.reach: int = 1 + 2 * residuals + len(wide)  # features that a feature sees on each side of itself

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, 256)."""
        return self.mlp(self.E(x.contiguous(memory_format=torch.channels_last)).mean((2, 3)))


def dtype_of(network: nn.Module) -> torch.dtype:
    """The number format of its weights."""
    return next(network.parameters()).dtype


def conv(wide: int, out: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the sides."""
    return nn.Conv2d(wide, out, 3, padding=1)


class ImageNetwork(nn.Module):
    """The U-net that restores a picture, steered by a prior (published as `G`)."""

    def __init__(self, config: DiffRIRConfig):
        super().__init__()
        self.config = config
        width, blocks, heads = config.dim, config.num_blocks, config.heads
        options = (config.ffn_expansion_factor, config.bias, config.LayerNorm_type == "WithBias")

        def level(width: int, heads: int, count: int) -> Level:
            return Level(Block(width, heads, *options) for _ in range(count))

        def reduce(width: int) -> nn.Conv2d:
            return nn.Conv2d(2 * width, width, 1, bias=config.bias)

        embed = nn.Conv2d(config.channels, width, 3, padding=1, bias=False)
        self.patch_embed: nn.ModuleDict = nn.ModuleDict({"proj": embed})
        self.encoder_level1: Level = level(width, heads[0], blocks[0])
        self.down1_2: Down = Down(width)
        self.encoder_level2: Level = level(2 * width, heads[1], blocks[1])
        self.down2_3: Down = Down(2 * width)
        self.encoder_level3: Level = level(4 * width, heads[2], blocks[2])
        self.down3_4: Down = Down(4 * width)
        self.latent: Level = level(8 * width, heads[3], blocks[3])
        self.up4_3: Up = Up(8 * width)
        self.reduce_chan_level3: nn.Conv2d = reduce(4 * width)
        self.decoder_level3: Level = level(4 * width, heads[2], blocks[2])
        self.up3_2: Up = Up(4 * width)
        self.reduce_chan_level2: nn.Conv2d = reduce(2 * width)
        self.decoder_level2: Level = level(2 * width, heads[1], blocks[1])
        self.up2_1: Up = Up(2 * width)  # the finest level keeps both halves
        self.decoder_level1: Level = level(2 * width, heads[0], blocks[0])
        self.refinement: Level = level(2 * width, heads[0], config.num_refinement_blocks)
        wide = (nn.Conv2d(2 * width, 8 * width, 3, padding=1) for _ in range(2))
        self.tail: nn.Sequential = nn.Sequential(
            nn.Sequential(*(layer for each in wide for layer in (each, nn.PixelShuffle(2)))),
            nn.Conv2d(2 * width, 3, 3, padding=1),
        )

    def forward(self, net_input: Tensor, prior: Tensor) -> Tensor:
        """(B, 3 + 3 s s, H, W) with sides that fill windows, (B, 256) -> (B, 3, H s, W s), not clamped."""
        features = self.embed(net_input)
        level1 = self.encoder_level1(features, prior)
        level2 = self.encoder_level2(self.down1_2(level1), prior)
        level3 = self.encoder_level3(self.down2_3(level2), prior)
        latent = self.latent(self.down3_4(level3), prior)
        x = torch.cat([self.up4_3(latent), level3], dim=-1)
        x = self.decoder_level3(convolve(self.reduce_chan_level3, x), prior)
        x = torch.cat([self.up3_2(x), level2], dim=-1)
        x = self.decoder_level2(convolve(self.reduce_chan_level2, x), prior)
        x = torch.cat([self.up2_1(x), level1], dim=-1)
        x = self.refinement(self.decoder_level1(x, prior), prior)
        # The picture itself is added in full precision, whatever the network runs in.
        return self.draw(x).to(net_input.dtype) + F.interpolate(net_input[:, :3], scale_factor=self.config.scale)

    def embed(self, net_input: Tensor) -> Tensor:
        """(B, 3 + 3 s s, H, W) -> (B, H s / 4, W s / 4, dim)."""
        x = rearrange(net_input.to(dtype_of(self)), "b c h w -> b h w c")
        return convolve(self.patch_embed["proj"], fold(x, self.config.unit))

    def draw(self, x: Tensor) -> Tensor:
        """Features to what is added to the picture: (B, H, W, 2 dim) -> (B, 3, 4 H, 4 W)."""
        wide, last = self.tail
        assert isinstance(wide, nn.Sequential)
        for conv in (wide[0], wide[2]):
            x = unfold(convolve(conv, x), 2)
        return convolve(last, x).permute(0, 3, 1, 2)


class Stage1(nn.Module):
    """The teacher: its prior is read from the clean picture, so it only serves training."""

    stage = 1

    def __init__(self, config: DiffRIRConfig):
        super().__init__()
        self.config = config
        self.G: ImageNetwork = ImageNetwork(config)
        self.E: PriorEncoder = PriorEncoder(config.channels + 3 * FINEST**2, config.n_encoder_res)

    def prior(self, net_input: Tensor, gt: Tensor) -> Tensor:
        """(B, 3 + 3 s s, H, W), (B, 3, H s, W s) -> (B, 256)."""
        folded = (F.pixel_unshuffle(net_input, self.config.unit), F.pixel_unshuffle(gt, FINEST))
        return self.E(torch.cat(folded, dim=1))

    def forward(self, net_input: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        """The restored picture (B, 3, H s, W s) and the prior (B, 256)."""
        prior = self.prior(net_input, gt)
        return self.G(net_input, prior), prior


class Stage2(nn.Module):
    """What restores: its prior is denoised from noise, given only what a user has."""

    stage = 2

    def __init__(self, config: DiffRIRConfig):
        super().__init__()
        self.config = config
        self.G: ImageNetwork = ImageNetwork(config)
        self.condition: PriorEncoder = PriorEncoder(config.channels, config.n_encoder_res)
        self.denoise: Denoiser = Denoiser(config.n_denoise_res, config.timesteps)
        self.diffusion: PriorDiffusion = PriorDiffusion(config.timesteps, config.linear_start, config.linear_end)

    def features(self, net_input: Tensor) -> Tensor:
        """What the condition averages over all pixels: (B, 3 + 3 s s, H, W) -> (B, 256, H s / 4, W s / 4)."""
        folded = F.pixel_unshuffle(net_input.to(dtype_of(self.condition)), self.config.unit)
        return self.condition.E(folded.contiguous(memory_format=torch.channels_last))

    def conditioned(self, net_input: Tensor) -> Tensor:
        """(B, 3 + 3 s s, H, W) -> (B, 256)."""
        return self.condition.mlp(self.features(net_input).mean((2, 3)))

    def prior(self, condition: Tensor, noise: Tensor) -> Tensor:
        """(B, 256), (B, 256) of unit noise -> (B, 256)."""
        return self.diffusion(self.denoise, noise, condition)

    def forward(self, net_input: Tensor, noise: Tensor) -> Tensor:
        """Restored, from start to end: (B, 3 + 3 s s, H, W), (B, 256) -> (B, 3, H s, W s)."""
        return self.G(net_input, self.prior(self.conditioned(net_input), noise))

    def train_forward(self, net_input: Tensor, teacher: Tensor, noise: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As `forward`, but from the teacher's prior made noisy.

        Returns:
            The restored picture, and the prior after each step, the last one being the one used.
        """
        path = self.denoised(net_input, teacher, noise)
        return self.G(net_input, path[-1]), path

    def denoised(self, net_input: Tensor, teacher: Tensor, noise: Tensor) -> list[Tensor]:
        """The prior after each step, from the teacher's prior (B, 256) made noisy with (B, 256) unit noise."""
        start = self.diffusion.noised(teacher, noise)
        return [x for x, _ in self.diffusion.steps(self.denoise, start, self.conditioned(net_input))]


MODELS: dict[int, type[Stage1] | type[Stage2]] = {1: Stage1, 2: Stage2}
