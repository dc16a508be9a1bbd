import numpy as np
import pytest
import torch

from llmga.diffrir.tiles import TiledInput, mirrored, picture_prior, restore_pictures, spans, weights
from llmga.errors import UserError


def pictures(height, width, scale=1, count=1, seed=0):
    rng = torch.Generator().manual_seed(seed)
    lq = torch.rand(count, 3, height, width, generator=rng)
    reference = torch.rand(count, 3, height * scale, width * scale, generator=rng)
    hole = torch.zeros(count, 1, height * scale, width * scale, dtype=torch.bool)
    hole[..., : width * scale // 2] = True
    return TiledInput(lq, reference, hole)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 15, 16, 32])
def test_mirroring_is_that_of_numpy(length):
    wanted = np.pad(np.arange(length), (0, 64 - length), mode="reflect")
    assert mirrored(torch.arange(64), length).tolist() == wanted.tolist()


@pytest.mark.parametrize("length", [32, 64, 96, 128, 160, 992, 2048])
def test_windows_cover_everything_and_their_weights_add_up_to_one(length):
    parts, total = spans(length, 96, 32, 32), torch.zeros(length)
    for part, ramp in zip(parts, weights(parts, length, 32), strict=True):
        total[part] += ramp
        assert part.start % 32 == 0
    torch.testing.assert_close(total, torch.ones(length))
    assert all(later.start <= part.stop - 32 for part, later in zip(parts, parts[1:], strict=False))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_prior_of_windows_is_that_of_the_whole_picture(tiny, scale):
    model, given, noise = tiny(scale), pictures(168 // scale, 104 // scale, scale), torch.randn(1, 256)
    whole = picture_prior(model, given, noise, tile=0)
    torch.testing.assert_close(picture_prior(model, given, noise, tile=64), whole, atol=1e-5, rtol=0)
    net_input = given.read(*(slice(0, side) for side in given.filled_size))
    torch.testing.assert_close(whole, model.prior(model.conditioned(net_input), noise), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50), (15, 16), (33, 8)])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_any_size_comes_out_at_its_size(tiny, scale, height, width):
    given = pictures(height, width, scale)
    output = restore_pictures(tiny(scale), given, torch.zeros(1, 256))
    assert output.shape == given.reference.shape and output.isfinite().all()


def test_a_batch_is_what_its_pictures_are_alone(tiny):
    model, both, noise = tiny(), pictures(40, 48, count=2), torch.randn(2, 256)
    together = restore_pictures(model, both, noise)
    for place in range(2):
        one = slice(place, place + 1)
        alone = TiledInput(both.lq[one], both.reference[one], both.hole[one])
        torch.testing.assert_close(restore_pictures(model, alone, noise[one]), together[one], atol=1e-5, rtol=0)


def test_no_edge_of_a_window_shows(tiny):
    """The mean step across the lines where windows begin and end, against the same lines of the untiled picture."""
    model, given, noise = tiny(), pictures(32, 320), torch.zeros(1, 256)
    whole, tiled = (restore_pictures(model, given, noise, tile, 32) for tile in (0, 96))
    edges = [edge for part in spans(320, 96, 32, 32) for edge in (part.start, part.stop) if 0 < edge < 320]
    steps = [(each[..., edges] - each[..., [edge - 1 for edge in edges]]).abs().mean() for each in (tiled, whole)]
    assert not torch.equal(whole, tiled)
    assert steps[0] <= 1.1 * steps[1]


@pytest.mark.parametrize(("tile", "overlap"), [(100, 32), (64, 64), (128, 0), (128, 20)])
def test_windows_that_do_not_fit_the_network_are_refused(tiny, tile, overlap):
    with pytest.raises(UserError, match="multiples of 32"):
        restore_pictures(tiny(), pictures(40, 40), torch.zeros(1, 256), tile, overlap)
