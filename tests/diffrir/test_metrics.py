import numpy as np
import pytest
import torch

from llmga.diffrir import perceptual
from llmga.diffrir.metrics import masked_psnr, masked_ssim
from llmga.diffrir.perceptual import DISTS_FILE, LPIPS_FILE, VGG_FILE, around, at_hand
from llmga.diffrir.vgg import VGG16, Features
from llmga.errors import UserError


@pytest.fixture
def pictures():
    """A picture, a noisy one, and a mask of its middle."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 3, 48, 64, generator=generator)
    mask = torch.zeros(1, 1, 48, 64)
    mask[..., 10:20, 20:50] = 1
    return truth, (truth + 0.1 * torch.randn(truth.shape, generator=generator)).clamp(0, 1), mask


def test_psnr_looks_under_the_mask_only(pictures):
    truth, _, mask = pictures
    off = truth + 0.1 * mask
    assert masked_psnr(off, truth, mask).item() == pytest.approx(20 * np.log10(255 / 21.9), abs=1e-3)
    assert masked_psnr(truth + 0.1 * (1 - mask), truth, mask).item() == pytest.approx(10 * np.log10(255**2 / 1e-3))


def test_ssim_is_scikit_image_s(pictures):
    metrics = pytest.importorskip("skimage.metrics")
    truth, noisy, mask = pictures
    from llmga.diffrir.metrics import luma

    whole = metrics.structural_similarity(
        *(luma(each)[0, 0].double().numpy() for each in (noisy, truth)), data_range=255, gaussian_weights=True,
        sigma=1.5, use_sample_covariance=False, win_size=11, full=True,
    )[1]  # fmt: skip
    assert masked_ssim(noisy, truth, mask).item() == pytest.approx(whole[mask[0, 0] == 1].mean(), abs=1e-4)
    assert masked_ssim(truth, truth, mask).item() == pytest.approx(1, abs=1e-5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Weights as the authors lay them out, random and of a thin VGG."""
    thin = tuple(each if each == "pool" else each // 16 for each in VGG16)
    monkeypatch.setattr(perceptual, "VGG16", thin)
    torch.manual_seed(0)
    vgg = Features(thin, perceptual.TAPS)
    torch.save(vgg.state_dict() | {"classifier.0.weight": torch.zeros(1)}, tmp_path / VGG_FILE)
    widths = [4, 8, 16, 32, 32]
    torch.save({f"lin{n}.model.1.weight": torch.rand(1, w, 1, 1) for n, w in enumerate(widths)}, tmp_path / LPIPS_FILE)
    channels = 3 + sum(widths)
    torch.save({name: torch.rand(1, channels, 1, 1) for name in ("alpha", "beta")}, tmp_path / DISTS_FILE)
    return tmp_path


def test_perceptual_metrics_are_zero_for_equals_and_grow_with_what_differs(folder, pictures):
    truth, noisy, _ = pictures
    metrics = at_hand(folder)
    assert set(metrics) == {"lpips", "dists"}
    for metric in metrics.values():
        little, much = metric(truth.lerp(noisy, 0.3), truth), metric(noisy, truth)
        assert metric(truth, truth).item() == pytest.approx(0, abs=1e-5)
        assert much.shape == (1,) and 0 < little.item() < much.item()


def test_only_what_is_at_hand_is_measured(folder, tmp_path):
    (folder / LPIPS_FILE).unlink()
    assert set(at_hand(folder)) == {"dists"}
    (folder / VGG_FILE).unlink()
    assert at_hand(folder) == {}


@pytest.mark.parametrize("name", [VGG_FILE, LPIPS_FILE, DISTS_FILE])
def test_damaged_weights_are_told(folder, name):
    (folder / name).write_bytes(b"nothing")
    with pytest.raises(UserError, match=name):
        at_hand(folder)


def test_the_box_around_a_mask_is_large_enough(pictures):
    mask = pictures[2][0, 0]
    rows, columns = around(mask)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (32, 32)
    assert mask[rows, columns].sum() == mask.sum()
    assert around(torch.zeros(48, 64)) is None
    assert around(torch.ones(20, 64)) is None
