"""What a pass costs is told by shapes alone."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from llmga.training.footprint import size, watched


class Squared(nn.Module):
    def forward(self, x):
        return x * x


def shaped(*shape):
    return torch.empty(*shape, device="meta", requires_grad=True)


def test_a_linear_layer_keeps_its_input_and_multiplies_each_weight_with_each_row():
    layer = nn.Linear(8, 4, device="meta")
    with watched(layer) as found:
        layer(shaped(16, 8))
    assert (found.flops, found.kept()) == (2 * 16 * 8 * 4, 16 * 8 * 4)


def test_attention_never_holds_its_scores():
    network, heads = nn.Identity(), shaped(1, 2, 256, 16)
    with watched(network) as found:
        scaled_dot_product_attention(heads, heads, heads)
    assert found.scores == found.flops == 4 * 2 * 256 * 256 * 16
    assert found.kept() < 256 * 256 * 4


def test_of_blocks_that_are_computed_again_only_the_inputs_and_one_inside_live():
    network = nn.Sequential(*(nn.Sequential(Squared(), nn.Softmax(-1)) for _ in range(4)))
    with watched(network, ["Squared"]) as found:
        network(shaped(8, 8))
    assert len(found.blocks) == 4
    assert found.kept(recompute=True) <= found.kept() == (1 + 4 + 4) * 8 * 8 * 4 - 8 * 8 * 4


def test_bytes_are_told_apart_by_what_learns():
    frozen = nn.Linear(8, 4, bias=False).requires_grad_(False)
    parts = [frozen, nn.Linear(4, 2, bias=False)]
    assert (size(parts, learning=True), size(parts, learning=False)) == (4 * 2 * 4, 8 * 4 * 4)
