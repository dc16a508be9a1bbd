import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from llmga.diffrir.blending import spread
from llmga.diffrir.matching import match, surroundings
from llmga.diffrir.tone import fit_tone
from llmga.errors import UserError
from llmga.seams import seam_error


def pixels(image):
    return np.asarray(image).astype(float)


def test_a_tone_is_found_through_outliers_and_clipping():
    rng = np.random.default_rng(0)
    painted = rng.uniform(0, 255, (4000, 3))
    known = (painted * [1.1, 0.9, 1.0] + [-4, 7, 0]).round().clip(0, 255)
    known[:800] = rng.uniform(0, 255, (800, 3))  # a fifth was repainted by mistake
    gain, bias = fit_tone(painted, known)
    np.testing.assert_allclose(gain, [1.1, 0.9, 1.0], atol=0.005)
    np.testing.assert_allclose(bias, [-4, 7, 0], atol=0.5)


def test_a_plain_kept_region_changes_the_bias_and_not_the_gain():
    gain, bias = fit_tone(np.full((50, 3), 100.0), np.full((50, 3), 90.0))
    np.testing.assert_allclose(gain, 1)
    np.testing.assert_allclose(bias, -10)


@pytest.mark.parametrize("blend", [False, True])
def test_the_painted_region_gets_its_tone_back_and_the_rest_is_untouched(scene, blend):
    image, reference, mask = scene()
    output, known, kept = pixels(match(image, reference, mask, blend=blend)), pixels(reference), pixels(mask) == 0
    assert np.array_equal(output[kept], known[kept])
    assert np.abs(output - known).mean() < 1 < np.abs(pixels(image) - known)[~kept].mean()


def test_blending_takes_a_local_drift_from_the_seam(scene):
    image, reference, mask = scene(96, 80)
    drift = np.linspace(-20, 20, 96)[None, :, None]
    drifted = Image.fromarray((pixels(reference) + drift).clip(0, 255).astype(np.uint8))
    errors = [seam_error(match(drifted, reference, mask, blend=blend), reference, mask) for blend in (False, True)]
    assert errors[1] < errors[0] / 4


def test_what_the_mask_hides_is_not_blended_into_the_painting():
    """A red object of the original, cut by the mask's edge, must not bleed over it."""
    rng = np.random.default_rng(0)
    ground = Image.fromarray(rng.integers(90, 110, (64, 64, 3)).astype(np.uint8))
    reference = ground.copy()
    ImageDraw.Draw(reference).rectangle((24, 24, 40, 40), fill=(255, 0, 0))
    mask = Image.new("L", ground.size)
    ImageDraw.Draw(mask).rectangle((20, 20, 44, 44), fill=255)
    ImageDraw.Draw(reference).rectangle((20, 20, 44, 22), fill=(255, 0, 0))  # as far as the edge
    output = pixels(match(ground, reference, mask, blend=True))[20:45, 20:45]
    assert np.abs(output - pixels(ground)[20:45, 20:45]).max() < 20


def test_a_membrane_keeps_what_is_known_and_lies_between():
    rng = np.random.default_rng(0)
    residual, kept = rng.uniform(-5, 5, (37, 50, 3)), np.ones((37, 50), dtype=bool)
    kept[10:30, 12:40] = False
    filled = spread(residual, kept)
    np.testing.assert_allclose(filled[kept], residual[kept], atol=1e-5)
    assert np.abs(filled[~kept]).max() <= 5 + 1e-5
    flat = spread(np.full((37, 50, 3), 3.0), kept)
    np.testing.assert_allclose(flat, 3, atol=1e-4)


def test_without_anything_kept_the_painting_stays(scene):
    image, reference, mask = scene()
    for reference_, mask_ in ((None, None), (reference, None), (reference, Image.new("L", image.size, 255))):
        assert match(image, reference_, mask_, blend=True).tobytes() == image.tobytes()


def test_an_empty_mask_gives_the_reference(scene):
    image, reference, mask = scene()
    assert match(image, reference, Image.new("L", image.size), blend=True).tobytes() == reference.tobytes()


@pytest.mark.parametrize("part", ["reference", "mask"])
def test_sizes_must_fit(scene, part):
    given = dict(zip(("image", "reference", "mask"), scene(), strict=True))
    given[part] = given[part].resize((5, 6))
    with pytest.raises(UserError, match=f"the {part} is 5x6, but the picture is 48x40"):
        match(**given)


@pytest.mark.parametrize("size", [(1, 2), (2, 2), (3, 1), (7, 5)])
def test_the_smallest_pictures_work(size):
    mask = Image.new("L", size)
    mask.putpixel((0, 0), 255)
    output = match(Image.new("RGB", size, "red"), Image.new("RGB", size, "blue"), mask, blend=True)
    assert output.size == size


def test_another_thing_in_the_kept_region_spoils_neither_tone_nor_seam():
    known = np.full((64, 64, 3), (40, 60, 140), np.uint8)
    painted = known + np.random.default_rng(0).integers(8, 12, known.shape, np.uint8)  # a little too bright everywhere
    known[20:44, 20:44], painted[20:44, 20:44] = (220, 40, 30), (36, 180, 66)
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    result = np.asarray(match(*map(Image.fromarray, (painted, known, mask)), blend=True)).astype(int)
    assert np.abs(result[:, 32:] - painted[:, 32:]).max() <= 48
    assert np.abs(result[:16, 32:] - known[:16, 32:]).mean() < 4


def painted_otherwise(share, rim):
    """A flat painting two levels too bright, the left half kept; another thing covers a share of that, rim and all."""
    known = np.full((96, 96, 3), (52, 70, 148), np.uint8)
    known[40:52, 10:22] = (220, 40, 30)
    thing = Image.new("L", (96, 96))
    thing.paste(255, (0, 0, 46, round(96 * share)))
    painted = Image.fromarray(known + np.uint8(2))
    painted.paste((225, 40, 30), mask=thing.filter(ImageFilter.GaussianBlur(rim)))
    mask = np.zeros((96, 96), np.uint8)
    mask[:, 48:] = 255
    return painted, Image.fromarray(known), Image.fromarray(mask)


@pytest.mark.parametrize("rim", [0, 3])
@pytest.mark.parametrize("share", [0.2, 0.45, 1.0])
@pytest.mark.parametrize("blend", [False, True])
def test_a_large_other_thing_in_the_kept_region_moves_no_colour_of_the_hole(share, rim, blend):
    painted, known, mask = painted_otherwise(share, rim)
    result = np.asarray(match(painted, known, mask, blend=blend)).astype(int)[:, 56:]
    assert np.abs(result - np.asarray(painted)[:, 56:]).max() <= 6


def test_a_strong_tone_of_the_same_thing_is_still_followed(scene):
    _, reference, mask = scene(96, 80)
    dark = reference.point(lambda level: round(level * 0.5))
    error = np.abs(pixels(match(dark, reference, mask)) - pixels(reference)).mean()
    assert error < 1.5 < np.abs(pixels(dark) - pixels(reference)).mean() / 10


def test_blending_is_what_it_was_when_it_looked_at_the_whole_picture(scene):
    """Levels recorded from windows of 33x33 over every pixel: a part is off by 30 on both sides of the seam."""
    _, reference, mask = scene(96, 80)
    painted = pixels(reference) * 1.06 - 9
    painted[30:50, :40] += 30
    output = match(Image.fromarray(painted.round().clip(0, 255).astype(np.uint8)), reference, mask, blend=True)
    recorded = [
        *[(106, 166, 108), (149, 106, 92), (187, 86, 86), (207, 140, 91), (178, 175, 80), (157, 168, 108)],
        *[(125, 101, 140), (93, 66, 167), (71, 112, 183), (68, 176, 186), (84, 176, 173), (115, 110, 149)],
    ]
    np.testing.assert_allclose(pixels(output)[40, 24:72:4], recorded, atol=1)


def test_what_is_far_from_the_hole_is_not_looked_at():
    """The cost is of the hole's surroundings: the seam is the same in a picture of four times as many pixels."""
    rng = np.random.default_rng(0)
    known = rng.integers(60, 200, (64, 160, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    painted = (known * 0.95 + rng.integers(0, 9, known.shape)).round().astype(np.uint8)
    mask = np.zeros(known.shape[:2], np.uint8)
    mask[200:260, 192:250] = 255
    rows, columns = surroundings(mask > 0)
    assert rows.stop - rows.start <= 512 and columns.stop - columns.start <= 512
    other = painted.copy()
    other[:, 1152:] = rng.integers(0, 255, other[:, 1152:].shape)  # another thing, and none of the tone's business
    outputs = [np.asarray(match(*map(Image.fromarray, (each, known, mask)), blend=True)) for each in (painted, other)]
    assert np.abs(outputs[0].astype(int) - outputs[1])[mask > 0].max() <= 1


@pytest.mark.parametrize("size", [(1, 40), (300, 3), (65, 64), (129, 200)])
def test_holes_that_leave_little_anywhere(size):
    known = Image.new("RGB", size, (90, 120, 150))
    mask = Image.new("L", size, 255)
    mask.putpixel((size[0] - 1, size[1] - 1), 0)
    output = match(known.point(lambda level: level + 9), known, mask, blend=True)
    assert output.size == size and output.getpixel((0, 0)) == pytest.approx((90, 120, 150), abs=10)
