import numpy as np
import pytest
import torch

from llmga.diffrir.degradation import local_drift
from llmga.diffrir.drift import Cells, Course, enlarged, trend_of
from llmga.diffrir.levelling import levelled
from llmga.diffrir.matching import matched
from llmga.diffrir.tone import fit_tone


def field(height, width, strength, seed=0):
    """A drift (height, width, 3) in levels."""
    generator = torch.Generator().manual_seed(seed)
    return (local_drift(torch.full((1, 3, height, width), 0.5), strength, generator)[0] - 0.5).permute(
        1, 2, 0
    ).numpy() * 255


def course(residual, kept):
    """How a plain grey is off by a difference: the drift everywhere, and what is the same everywhere."""
    grey = np.full(residual.shape, 128.0)
    cells = Cells.of(grey + residual, grey, residual, kept)
    found = Course.fitted(cells, trend_of(cells))
    return enlarged(found, cells, kept.shape), found.shift + (found.tilt - 1) * 128


def drift(residual, kept):
    return np.add(*course(residual, kept))


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
    assert np.abs(course(residual, kept)[0][:, 300:]).max() < 1


def test_too_little_to_tell_and_odd_sizes():
    kept = np.zeros((7, 5), bool)
    kept[0, 0] = True
    known = np.full((7, 5, 3), 90.0)
    np.testing.assert_allclose(levelled(known + 1, known, kept), known)
    assert levelled(np.ones((1, 33, 3)), np.ones((1, 33, 3)), np.ones((1, 33), bool)).shape == (1, 33, 3)


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


def textured(height=160, width=160):
    rng = np.random.default_rng(1)
    coarse = rng.uniform(40, 210, (height // 4, width // 4, 3))
    return coarse.repeat(4, 0).repeat(4, 1)


def off(painted, known, kept):
    """Mean difference in the hole, before and after levelling."""
    before, after = (np.abs(picture - known)[~kept].mean() for picture in (painted, levelled(painted, known, kept)))
    return before, after


def test_a_tone_and_a_drift_are_told_apart_where_the_drift_goes_with_the_light():
    known, kept = textured() * 0.5 + np.linspace(0, 120, 160)[None, :, None], hole(160, 160)
    painted = (known + np.linspace(-12, 12, 160)[None, :, None]).round().clip(1, 254)
    before, after = off(painted, known, kept)
    assert before > 2 and after < 0.4
    tone_only = painted * fit_tone(painted[kept], known[kept])[0] + fit_tone(painted[kept], known[kept])[1]
    assert np.abs(tone_only - known)[~kept].mean() > 2 * after


def test_both_at_once():
    known, kept = textured(), hole(160, 160)
    painted = (known * 0.9 + 8 + field(160, 160, 0.03)).round().clip(1, 254)
    before, after = off(painted, known, kept)
    assert after < before / 8


@pytest.mark.parametrize("noise", [5, 25])
def test_noise_on_a_plain_ground_is_no_tone(noise):
    """The hole shows what the ground does not: a gain made up for the noise would take its contrast."""
    known, kept = np.full((128, 128, 3), 120.0), hole(128, 128)
    known[50:70, 50:70] = 180
    painted = (known + np.random.default_rng(0).normal(0, noise, known.shape)).round().clip(0, 255)
    np.testing.assert_array_equal(levelled(painted, known, kept), painted.astype(np.float32))


def test_what_is_off_nowhere_in_particular_stays():
    known, kept = textured(), hole(160, 160)
    painted = known + np.random.default_rng(0).integers(-6, 7, known.shape)
    np.testing.assert_array_equal(levelled(painted, known, kept), painted.astype(np.float32))
