import numpy as np
import torch

from llmga.diffrir.degradation import local_drift
from llmga.diffrir.drift import drift
from llmga.diffrir.matching import matched


def field(height, width, strength, seed=0):
    """A drift (height, width, 3) in levels."""
    generator = torch.Generator().manual_seed(seed)
    return (local_drift(torch.full((1, 3, height, width), 0.5), strength, generator)[0] - 0.5).permute(
        1, 2, 0
    ).numpy() * 255


def hole(height, width):
    kept = np.ones((height, width), bool)
    kept[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = False
    return kept


def test_a_drift_is_carried_into_the_hole():
    truth, kept = field(120, 160, 0.04), hole(120, 160)
    noisy = truth + np.random.default_rng(0).normal(0, 4, truth.shape)
    guess = drift(np.where(kept[..., None], noisy, 1e6), kept)
    assert np.abs((guess - truth)[kept]).mean() < 0.15 * np.abs(truth[kept]).mean()
    assert np.abs((guess - truth)[~kept]).mean() < 0.3 * np.abs(truth[~kept]).mean()


def test_noise_is_no_drift():
    kept = hole(100, 100)
    guess = drift(np.random.default_rng(0).normal(0, 5, (100, 100, 3)), kept)
    assert np.abs(guess).max() < 0.5


def test_far_from_what_is_kept_nothing_is_claimed():
    kept = np.zeros((100, 400), bool)
    kept[:, :60] = True
    residual = np.zeros((100, 400, 3))
    residual[:, :60] = 10 * np.sin(np.arange(60) / 10)[None, :, None]
    assert np.abs(drift(residual, kept)[:, 300:]).max() < 1


def test_too_little_to_tell_and_odd_sizes():
    kept = np.zeros((7, 5), bool)
    kept[0, 0] = True
    assert not drift(np.ones((7, 5, 3)), kept).any()
    assert drift(np.ones((1, 33, 3)), np.ones((1, 33), bool)).shape == (1, 33, 3)


def test_matched_pictures_have_the_reference_s_tone_at_every_scale():
    reference = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 2)
    reference = reference.repeat_interleave(4, 3) * 0.6 + 0.2
    mask = torch.zeros(2, 1, 96, 96)
    mask[:, :, 30:50, 30:60] = 1
    mask[1] = 1  # nothing is known of the second
    for scale in (1, 2, 4):
        lq = reference[:, :, ::scale, ::scale] * 0.9 + 0.03
        levelled = matched(lq, reference, mask)
        assert (levelled[0] - reference[0, :, ::scale, ::scale]).abs().max() < 2 / 255
        torch.testing.assert_close(levelled[1], lq[1], atol=1e-6, rtol=0)


def test_bytes_and_floats_are_matched_alike():
    levels = torch.randint(20, 230, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:16, 8:16] = 1
    darker = (levels.float() * 0.9).round()
    torch.testing.assert_close(matched(darker.byte(), levels, mask), matched(darker / 255, levels / 255, mask))
