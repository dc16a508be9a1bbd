"""Blocks of the restoration network: attention over channels, steered by a prior.

Pictures inside the network lie channels last, as (batch, height, width, channels): every 1x1 convolution is then one
matrix product, and the other convolutions read the same memory through a view.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

PRIOR_WIDTH = 256  # of the vector that steers every block; fixed in the published weights
EPSILON = 1e-5
SLOPE = 0.1  # of the leaky rectifiers around the prior


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H, W, C'); the memory stays channels last."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Affine(nn.Module):
    """The weight and bias of a norm, under their published names."""

    bias: nn.Parameter | None

    def __init__(self, width: int, bias: bool):
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(torch.ones(width))
        self.register_parameter("bias", nn.Parameter(torch.zeros(width)) if bias else None)


class Norm(nn.Module):
    """Divides by the standard deviation over the channels of each pixel (Restormer, section 3).

    Without bias the mean is *not* taken away.  Keys: `body.weight`, and `body.bias` with bias.
    """

    def __init__(self, width: int, bias: bool):
        super().__init__()
        self.body: Affine = Affine(width, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        x = self.scaled(x) * self.body.weight
        return x if self.body.bias is None else x + self.body.bias

    def scaled(self, x: Tensor) -> Tensor:
        """What is left of the norm when its weight and bias are folded into the product that follows."""
        centred = x - x.mean(-1, keepdim=True)  # var() would say the same in fifteen times the time
        inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + EPSILON)
        return (x if self.body.bias is None else centred) * inverse


class Steered(nn.Module):
    """What attention and feed-forward share: their input is normed, then scaled and shifted by the prior.

    The prior's scale and shift, the norm's weight and the 1x1 convolution that comes next are one matrix for each
    picture, so that no steered picture is ever made.
    """

    kernel: nn.Module  # the prior's scale and shift; where it stands among the parts, the published order says

    def project(self, x: Tensor, norm: Norm, prior: Tensor, conv: nn.Conv2d) -> Tensor:
        """conv(norm(x) * scale + shift): (B, H, W, C), (B, 256) -> (B, H, W, C')."""
        scale, shift = self.kernel(prior).chunk(2, dim=-1)
        matrix = conv.weight[:, :, 0, 0]
        if norm.body.bias is not None:
            shift = shift + norm.body.bias * scale
        offset = F.linear(shift, matrix, conv.bias)
        return per_picture(norm.scaled(x), matrix * (norm.body.weight * scale)[:, None], offset)


def steering(width: int) -> nn.Sequential:
    """(B, 256) -> (B, 2 C): a scale and a shift for each channel."""
    return nn.Sequential(nn.Linear(PRIOR_WIDTH, 2 * width, bias=False))


def per_picture(x: Tensor, matrices: Tensor, offset: Tensor | None = None) -> Tensor:
    """A 1x1 convolution whose weights differ by picture: (B, H, W, C), (B, C', C), (B, C') -> (B, H, W, C')."""
    if len(x) == 1:
        return F.linear(x, matrices[0], None if offset is None else offset[0])
    pixels = x.flatten(1, 2) @ matrices.mT
    return (pixels if offset is None else pixels + offset[:, None]).unflatten(1, x.shape[1:3])


class Attention(Steered):
    """Channels attend to channels, so that the cost grows with the pixels and not with their square."""

    def __init__(self, width: int, heads: int, bias: bool):
        super().__init__()
        self.heads = heads
        self.temperature: nn.Parameter = nn.Parameter(torch.ones(heads, 1, 1))
        self.kernel: nn.Module = steering(width)
        self.qkv: nn.Conv2d = nn.Conv2d(width, 3 * width, 1, bias=bias)
        self.qkv_dwconv: nn.Conv2d = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=bias)
        self.project_out: nn.Conv2d = nn.Conv2d(width, width, 1, bias=bias)

    def forward(self, x: Tensor, norm: Norm, prior: Tensor) -> Tensor:
        """(B, H, W, C), (B, 256) -> (B, H, W, C)."""
        qkv = convolve(self.qkv_dwconv, self.project(x, norm, prior, self.qkv))
        query, key, value = qkv.chunk(3, dim=-1)
        # Weights over values and the outgoing 1x1 convolution are one matrix: the values are read once.
        out = rearrange(self.project_out.weight, "o (h i) 1 1 -> h o i", h=self.heads)
        matrices = rearrange(out @ self._weights(query, key), "b h o j -> b o (h j)")
        bias = self.project_out.bias
        return per_picture(value, matrices, None if bias is None else bias.expand(len(x), -1))

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        """How much each channel takes of each other one: (B, heads, C/heads, C/heads), rows sum to one."""
        query, key = (rearrange(part, "b y x (h c) -> b h (y x) c", h=self.heads) for part in (query, key))
        # Norms divide the small table of products instead of the pictures.
        lengths = _length(query)[..., :, None] * _length(key)[..., None, :]
        return torch.softmax((query.mT @ key) / lengths * self.temperature, dim=-1)


def _length(x: Tensor) -> Tensor:
    """Length over all pixels of each channel, kept off zero: (B, heads, pixels, C) -> (B, heads, C)."""
    return x.square().sum(-2).sqrt().clamp_min(1e-12)


class FeedForward(Steered):
    """A gated pair of wider channels; the first half opens the second."""

    def __init__(self, width: int, factor: float, bias: bool):
        super().__init__()
        hidden = int(width * factor)
        self.project_in: nn.Conv2d = nn.Conv2d(width, 2 * hidden, 1, bias=bias)
        self.dwconv: nn.Conv2d = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out: nn.Conv2d = nn.Conv2d(hidden, width, 1, bias=bias)
        self.kernel: nn.Module = steering(width)

    def forward(self, x: Tensor, norm: Norm, prior: Tensor) -> Tensor:
        """(B, H, W, C), (B, 256) -> (B, H, W, C)."""
        gate, value = convolve(self.dwconv, self.project(x, norm, prior, self.project_in)).chunk(2, dim=-1)
        return F.linear(F.gelu(gate) * value, self.project_out.weight[:, :, 0, 0], self.project_out.bias)


class Block(nn.Module):
    """One transformer block: attention, then feed-forward, both added to what came in."""

    def __init__(self, width: int, heads: int, factor: float, bias: bool, norm_bias: bool):
        super().__init__()
        self.norm1: Norm = Norm(width, norm_bias)
        self.attn: Attention = Attention(width, heads, bias)
        self.norm2: Norm = Norm(width, norm_bias)
        self.ffn: FeedForward = FeedForward(width, factor, bias)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """(B, H, W, C), (B, 256) -> (B, H, W, C)."""
        x = x + self.attn(x, self.norm1, prior)
        return x + self.ffn(x, self.norm2, prior)


class Level(nn.ModuleList):
    """Blocks of one width, one after the other."""

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """(B, H, W, C), (B, 256) -> (B, H, W, C)."""
        for block in self:
            x = block(x, prior)
        return x


class Down(nn.Module):
    """Half the sides, twice the channels."""

    def __init__(self, width: int):
        super().__init__()
        self.body: nn.Sequential = nn.Sequential(nn.Conv2d(width, width // 2, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H/2, W/2, 2 C)."""
        return fold(convolve(self.body[0], x), 2)


class Up(nn.Module):
    """Twice the sides, half the channels."""

    def __init__(self, width: int):
        super().__init__()
        self.body: nn.Sequential = nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, 2 H, 2 W, C/2)."""
        return unfold(convolve(self.body[0], x), 2)


def fold(x: Tensor, factor: int) -> Tensor:
    """Space to channels, channels last: (B, H f, W f, C) -> (B, H, W, C f f)."""
    return rearrange(x, "b (h p) (w q) c -> b h w (c p q)", p=factor, q=factor)


def unfold(x: Tensor, factor: int) -> Tensor:
    """Channels to space, channels last: (B, H, W, C f f) -> (B, H f, W f, C)."""
    return rearrange(x, "b h w (c p q) -> b (h p) (w q) c", p=factor, q=factor)


class Residual(nn.Module):
    """Two 3x3 convolutions added to what came in; of the prior encoder, channels first."""

    def __init__(self, width: int):
        super().__init__()
        self.body: nn.Sequential = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return x + self.body(x)
