"""The folded forms against the plain formulas, for the options that no published network uses, too."""

import pytest
import torch
import torch.nn.functional as F

from llmga.diffrir.layers import Block, fold, unfold


def plain_block(block, x, prior):
    """Channels first, every step by itself."""

    def norm(part, x):
        mean, deviation = x.mean(1, keepdim=True), torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
        weight = part.body.weight[:, None, None]
        if part.body.bias is None:
            return x / deviation * weight
        return (x - mean) / deviation * weight + part.body.bias[:, None, None]

    def steered(part, x):
        scale, shift = part.kernel(prior)[:, :, None, None].chunk(2, dim=1)
        return x * scale + shift

    def attention(part, x):
        heads = (t.reshape(len(x), part.heads, -1, x[0, 0].numel()) for t in part.qkv_dwconv(part.qkv(x)).chunk(3, 1))
        query, key, value = heads
        weights = (F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT * part.temperature).softmax(-1)
        return part.project_out((weights @ value).reshape(x.shape))

    def feed_forward(part, x):
        gate, value = part.dwconv(part.project_in(x)).chunk(2, dim=1)
        return part.project_out(F.gelu(gate) * value)

    x = x + attention(block.attn, steered(block.attn, norm(block.norm1, x)))
    return x + feed_forward(block.ffn, steered(block.ffn, norm(block.norm2, x)))


@pytest.mark.parametrize("norm_bias", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_block_is_the_plain_formula(norm_bias, bias, batch):
    torch.manual_seed(0)
    block = Block(8, heads=2, factor=2.2, bias=bias, norm_bias=norm_bias)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, prior = torch.randn(batch, 8, 6, 5), torch.randn(batch, 256) / 8
    got = block(x.permute(0, 2, 3, 1), prior).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, plain_block(block, x, prior), atol=2e-4, rtol=1e-4)


def test_a_plain_region_without_any_variation_stays_finite():
    block = Block(8, heads=2, factor=2.2, bias=False, norm_bias=True)
    assert block(torch.zeros(1, 4, 4, 8), torch.ones(1, 256)).isfinite().all()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_folding_is_that_of_torch_and_comes_back(factor):
    x = torch.randn(2, 3, 8, 8)
    folded = fold(x.permute(0, 2, 3, 1), factor)
    torch.testing.assert_close(folded.permute(0, 3, 1, 2), F.pixel_unshuffle(x, factor))
    torch.testing.assert_close(unfold(folded, factor).permute(0, 3, 1, 2), x)
