import math
from dataclasses import replace

import pytest
import torch

from llmga.diffrir.degradation import (
    DegradationConfig,
    Kernels,
    PairPool,
    _levels,
    degrade,
    gaussian_noise,
    local_drift,
    poisson_noise,
    quantise,
    random_crop,
    sharpen,
)
from llmga.diffrir.jpeg import jpeg
from llmga.diffrir.kernels import LARGEST, random_blur, random_final


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth(count=2, side=64):
    y, x = torch.meshgrid(torch.linspace(0, 3, side), torch.linspace(0, 3, side), indexing="ij")
    return torch.stack([x.sin(), y.cos().abs(), (x * y / 9)]).clamp(0, 1).expand(count, -1, -1, -1).clone()


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_degraded_batch_is_smaller_by_the_scale_and_made_of_levels(scale, seed):
    clean, recipe = smooth(), DegradationConfig(scale, drift=0.05 * (seed % 2))
    first, again = (degrade(clean, Kernels.draw(2, seeded(seed)), recipe, seeded(seed)) for _ in range(2))
    assert first.shape == (2, 3, 64 // scale, 64 // scale)
    assert torch.equal(first, again)
    torch.testing.assert_close(first * 255, (first * 255).round())
    assert first.min() >= 0 and first.max() <= 1
    assert not torch.equal(first, degrade(clean, Kernels.draw(2, seeded(9)), recipe, seeded(9)))


def test_a_degraded_picture_is_still_the_picture():
    clean = smooth(8)
    degraded = degrade(clean, Kernels.draw(8, seeded()), DegradationConfig(), seeded())
    assert 0.005 < (degraded - clean).abs().mean() < 0.15


def test_drawn_kernels_sum_to_one_and_have_one_size():
    rng = seeded()
    for _ in range(60):
        for kernel in (random_blur(rng, (0.2, 3.0)), random_final(rng)):
            assert kernel.shape == (LARGEST, LARGEST)
            assert kernel.sum().item() == pytest.approx(1)


def test_most_final_kernels_ring_and_the_others_change_nothing():
    rng = seeded()
    peaks = [random_final(rng).max().item() for _ in range(300)]
    assert sum(peak > 1 - 1e-9 for peak in peaks) / 300 == pytest.approx(0.2, abs=0.07)


def test_noise_is_as_strong_as_asked_and_grey_where_asked():
    images, sigma = torch.full((2, 3, 64, 64), 0.5), torch.tensor([5.0, 20.0])
    noise = gaussian_noise(images, sigma, torch.tensor([False, True]), seeded())
    assert (noise.std((1, 2, 3)) * 255).tolist() == pytest.approx([5, 20], rel=0.05)
    assert torch.equal(noise[1, 0], noise[1, 2]) and not torch.equal(noise[0, 0], noise[0, 2])
    scale = torch.tensor([1.0, 2.0])
    noise = poisson_noise(images, scale, torch.tensor([False, True]), seeded())
    assert noise.std((1, 2, 3)).tolist() == pytest.approx([math.sqrt(0.5), 2 * math.sqrt(0.5)], rel=0.05)
    assert torch.equal(noise[1, 0], noise[1, 2]) and not torch.equal(noise[0, 0], noise[0, 2])


def test_each_picture_has_its_own_quality():
    images = smooth()[..., :40, :24]
    both = jpeg(images, torch.tensor([20.0, 95.0]))
    torch.testing.assert_close(both[1:], jpeg(images[1:], torch.tensor([95.0])))
    errors = (both - images).abs().mean((1, 2, 3))
    assert errors[0] > 1.5 * errors[1]


def test_the_tone_is_one_for_all_channels_and_the_drift_is_not():
    grey = torch.full((1, 3, 64, 64), 0.5)
    flat = local_drift(grey, 0.05, seeded())
    assert flat.std() == pytest.approx(0.05, rel=0.6)
    assert not torch.allclose(flat[0, 0], flat[0, 1], atol=1e-3)
    assert (flat[..., 1:] - flat[..., :-1]).abs().max() < 0.02


def test_the_published_recipe_has_no_drift():
    clean, kernels = smooth(), Kernels.draw(2, seeded())
    plain, drifted = (degrade(clean, kernels, replace(DegradationConfig(), drift=d), seeded()) for d in (0.0, 0.1))
    assert 0.02 < (plain - drifted).abs().mean() < 0.2


def test_sharpening_leaves_flat_pictures_and_lifts_edges():
    flat = torch.full((1, 3, 64, 64), 0.4)
    torch.testing.assert_close(sharpen(flat), flat)
    edge = flat.clone()
    edge[..., 32:] = 0.6
    assert sharpen(edge)[..., 33].mean() > 0.62


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_crops_show_the_same_place(scale):
    places = torch.arange(64 * 64.0).view(1, 1, 64, 64)
    small = places[..., ::scale, ::scale]
    lq, (gt, mask) = random_crop(small, (places, places), 32, seeded(3))
    assert gt.shape[-1] == 32 and lq.shape[-1] == 32 // scale
    assert torch.equal(lq, gt[..., ::scale, ::scale]) and torch.equal(gt, mask)


def test_the_pool_fills_and_then_mixes_pairs_that_stay_together():
    pool, rng, seen = PairPool(8), seeded(), []
    for start in range(0, 40, 4):
        numbers = torch.arange(start, start + 4.0)
        a, b = pool.swap(rng, numbers, -numbers)
        assert torch.equal(a, -b)
        seen.append(a.tolist())
    assert seen[0] == [0, 1, 2, 3] and seen[1] == [4, 5, 6, 7]
    assert all(max(later) < 4 * (place + 2) for place, later in enumerate(seen[2:], 1))
    swapped = [number for batch in seen[2:] for number in batch]
    assert len(set(swapped)) == len(swapped)


def test_levels_are_counted_picture_by_picture():
    images = quantise(torch.rand(3, 3, 40, 40, generator=seeded()) * torch.tensor([1.0, 0.1, 0.0]).view(3, 1, 1, 1))
    assert _levels(images).tolist() == [len(image.unique()) for image in images]
