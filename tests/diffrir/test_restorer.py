import numpy as np
import pytest
from PIL import Image, ImageFilter

from llmga.diffrir.checkpoints import save_model
from llmga.diffrir.restorer import DiffRIR, open_diffrir
from llmga.errors import UserError


def pixels(image):
    return np.asarray(image).astype(int)


def test_kept_pixels_are_the_references_and_the_rest_is_not(tiny, scene):
    image, reference, mask = scene()
    output, kept = pixels(DiffRIR(tiny())(image, reference, mask)), pixels(mask) == 0
    assert np.array_equal(output[kept], pixels(reference)[kept])
    assert not np.array_equal(output[~kept], pixels(image)[~kept])


def test_a_seed_means_one_picture(tiny, scene):
    model, given = tiny(), scene()
    model.denoise.resmlp[0].weight.mul_(8)  # so that the noise shows in tiny random weights
    first, again, other = (DiffRIR(model, seed=seed)(*given).tobytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_several_pictures_are_what_they_are_alone(tiny, scene):
    restorer, both = DiffRIR(tiny()), [scene(seed=seed) for seed in (1, 2)]
    together = restorer.many(*zip(*both, strict=True))
    for one, given in zip(together, both, strict=True):
        assert np.abs(pixels(one) - pixels(restorer(*given))).max() <= 1


def test_a_feathered_mask_is_hard_unless_asked(tiny, scene):
    image, reference, mask = scene()
    feathered = mask.filter(ImageFilter.GaussianBlur(3))
    levels, known = pixels(feathered), pixels(reference)
    hard, soft = (pixels(DiffRIR(tiny(), soft=soft)(image, reference, feathered)) for soft in (False, True))
    assert np.array_equal(hard[levels < 128], known[levels < 128])
    assert np.array_equal(soft[levels == 0], known[levels == 0])
    faint = (levels > 40) & (levels < 128)
    assert (soft[faint] != known[faint]).any()


@pytest.mark.parametrize("scale", [2, 4])
def test_upscaling_keeps_a_large_reference_and_is_guided_by_a_small_one(tiny, scene, scale):
    image, small, mask = scene(24, 20)
    large = small.resize((24 * scale, 20 * scale))
    restorer = DiffRIR(tiny(scale))
    output, kept = pixels(restorer(image, large, mask)), pixels(mask.resize(large.size, 0)) == 0
    assert np.array_equal(output[kept], pixels(large)[kept])
    assert restorer(image, small, mask).size == large.size
    assert restorer(image).size == large.size


def test_grey_and_transparent_pictures_are_taken(tiny, scene):
    image, reference, mask = scene()
    restorer = DiffRIR(tiny())
    assert restorer(image.convert("L"), reference.convert("RGBA"), mask.convert("1")).mode == "RGB"


@pytest.mark.parametrize("part", [1, 2])
def test_a_size_that_does_not_fit_is_told(tiny, scene, part):
    given = list(scene())
    given[part] = given[part].resize((9, 7))
    with pytest.raises(UserError, match="9x7, but the picture is 48x40"):
        DiffRIR(tiny())(*given)
    with pytest.raises(UserError, match="96x80, the output's size, or 48x40"):
        DiffRIR(tiny(2))(*given)


def test_half_precision_is_close_and_other_formats_are_refused(tiny, scene, tmp_path):
    path, given = save_model(tiny(), tmp_path), scene()
    exact, half = (pixels(open_diffrir(path, device="cpu", dtype=name)(*given)) for name in ("fp32", "bf16"))
    assert np.abs(exact - half).max() <= 6
    with pytest.raises(UserError, match="fp32, bf16"):
        open_diffrir(path, device="cpu", dtype="fp16")


def test_an_empty_mask_gives_the_reference_back(tiny, scene):
    image, reference, _ = scene()
    output = DiffRIR(tiny())(image, reference, Image.new("L", image.size))
    assert output.tobytes() == reference.tobytes()


def drifting(scene):
    """A painting of another tone whose colours drift to one side, its original, and the mask."""
    _, reference, mask = scene(96, 80)
    slope = np.linspace(-30, 30, 96)[None, :, None] * np.array([1, -0.5, 0.3])
    painted = np.asarray(reference) * 0.95 + 6 + 0.5 * slope
    return Image.fromarray(painted.round().clip(0, 255).astype(np.uint8)), reference, mask


def test_a_matched_network_starts_from_the_reference_s_tone_and_blends_its_seam(tiny, scene):
    image, reference, mask = drifting(scene)
    errors = {}
    for matched in (False, True):
        model = tiny(matched=matched)
        for part in (model.G.tail[1].weight, model.G.tail[1].bias):
            part.zero_()  # so that nothing is added to what the network sees
        output = DiffRIR(model)(image, reference, mask)
        kept = pixels(mask) == 0
        assert np.array_equal(pixels(output)[kept], pixels(reference)[kept])
        errors[matched] = np.abs(pixels(output).astype(int) - pixels(reference))[~kept].mean()
    assert errors[False] > 2 and errors[True] < 0.5 * errors[False]


@pytest.mark.parametrize("given", ["nothing", "no mask", "a full mask"])
def test_a_matched_network_restores_without_anything_known(tiny, scene, given):
    image, reference, mask = scene()
    restorer = DiffRIR(tiny(matched=True))
    known = {
        "nothing": (None, None),
        "no mask": (reference, None),
        "a full mask": (reference, Image.new("L", image.size, 255)),
    }
    assert restorer(image, *known[given]).size == image.size
