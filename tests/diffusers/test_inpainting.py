import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageDraw

from llmga import deep
from llmga.diffrir.restorers import load_restorer
from llmga.diffusers.canvas import Canvas
from llmga.diffusers.components import from_pipe
from llmga.diffusers.inpainting import AREAS, Inpainter
from llmga.diffusers.latents import unscaled
from llmga.diffusers.pipelines import PIPELINES, load_pipeline
from llmga.errors import UserError
from llmga.images import open_image
from llmga.masks import random_mask

INPAINTING = [name for name, family in PIPELINES.items() if family.task == "inpainting"]


class Scribbler(Inpainter):
    """An inpainter whose pipeline is noise: for everything that no model decides."""

    native_size, unit, sampler_name = (64, 64), 8, "checkpoint"

    def __init__(self):
        self.family, self.defaults = PIPELINES["sdxl-inpainting"], {}
        self.sampler = SimpleNamespace(steps=None, guidance_scale=None)
        self.pipeline = SimpleNamespace(scheduler=SimpleNamespace(config=SimpleNamespace(num_train_timesteps=1000)))
        self.seen = []

    def _paint(self, prompt, negative, seeds, steps, guidance, on_step, on_preview, *, image, mask_image, **rest):
        (image, *_), (mask_image, *_) = image, mask_image
        self.seen.append((image, mask_image, rest))
        assert image.mode == "RGB" and mask_image.mode == "L"
        assert image.size == mask_image.size == (rest["width"], rest["height"])
        assert rest["width"] % self.unit == rest["height"] % self.unit == 0
        if on_step is not None:
            on_step(1, 2), on_step(2, 2)
        return [noise("RGB", image.size, np.random.default_rng(seed)) for seed in seeds]


def noise(mode, size, rng):
    """A picture of random values in all its channels."""
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray(rng.integers(0, 2**16, size[::-1]).astype(kind))
    if mode == "P":
        return noise("RGB", size, rng).quantize(16)
    if mode == "1":
        return noise("L", size, rng).convert("1")
    bands = [Image.fromarray(rng.integers(0, 256, size[::-1], dtype=np.uint8)) for _ in Image.new(mode, (1, 1)).split()]
    return bands[0] if len(bands) == 1 else Image.merge(mode, bands)


def drawn_mask(size, rng):
    """A brush stroke, boxes, a border, an ellipse, single pixels, or what is transparent; always some and not all."""
    kind = rng.integers(4)
    if kind == 0:
        marked = random_mask(size, rng)[1].copy()
    elif kind == 1:
        image = Image.new("L", size)
        x, y = sorted(rng.uniform(0, size[0], 2)), sorted(rng.uniform(0, size[1], 2))
        ImageDraw.Draw(image).ellipse((x[0], y[0], x[1], y[1]), fill=255)
        marked = np.asarray(image) > 0
    else:
        marked = rng.random(size[::-1]) < rng.choice([0.001, 0.5, 0.999])
    marked = marked.copy()
    marked[rng.integers(size[1]), 0], marked[rng.integers(size[1]), 1] = True, False
    if kind == 3:  # OpenAI's convention
        picture = Image.new("RGB", size, "white")
        picture.putalpha(Image.fromarray(np.where(marked, np.uint8(0), np.uint8(255))))
        return picture, marked
    return Image.fromarray(np.where(marked, np.uint8(255), np.uint8(0))), marked


HELD_AS = {"1": "L", "P": "RGB"}
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]


@pytest.mark.parametrize("mode", MODES)
def test_kept_pixels_are_identical_in_pictures_of_every_mode_size_and_mask(mode):
    """26 of each of 12 modes, 312 in all."""
    rng = np.random.default_rng(MODES.index(mode))
    for _ in range(26):
        size = tuple(int(side) for side in np.exp(rng.uniform(np.log(17), np.log(1500), 2)))
        picture, (mask, marked) = noise(mode, size, rng), drawn_mask(size, rng)
        area = str(rng.choice(list(AREAS)))
        result = Scribbler()("x", picture, mask, seed=int(rng.integers(99)), area=area)
        assert result.size == size and result.mode == HELD_AS.get(mode, mode)
        before, after = np.asarray(picture.convert(result.mode)), np.asarray(result)
        assert np.array_equal(before[~marked], after[~marked])
        assert marked.sum() < 50 or not np.array_equal(before[marked], after[marked])
        if mode.endswith("A"):
            assert (after[marked][:, -1] == 255).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("area", list(AREAS))
@pytest.mark.parametrize("soft", [False, True])
def test_a_restorer_never_reaches_a_kept_pixel(mode, area, soft):
    """One that changes every pixel of what it is shown."""
    rng = np.random.default_rng(7)
    picture, mask = noise(mode, (90, 70), rng), Image.new("L", (90, 70))
    mask.paste(255, (40, 20, 60, 50)), mask.paste(100 if soft else 255, (40, 20, 42, 50))
    seen = []

    def restore(painting, reference, hole):
        seen.append((painting, reference, hole))
        return Image.new("RGB", painting.size, (250, 250, 250))

    result = Scribbler()("x", picture, mask, area=area, soft=soft, restore=restore)
    before, after = np.asarray(picture.convert(result.mode)), np.asarray(result)
    kept = np.asarray(mask) == 0
    assert np.array_equal(before[kept], after[kept]) and not np.array_equal(before[~kept], after[~kept])
    ((painting, reference, hole),) = seen
    assert painting.mode == reference.mode == "RGB" and painting.size == reference.size == hole.size
    assert (np.asarray(hole) == 255).sum() == (~kept).sum()
    assert not np.array_equal(np.asarray(painting)[0], np.asarray(reference)[0])  # kept, but as it was painted


def test_a_restorer_sees_every_stage_and_each_goes_on_from_what_it_made():
    picture, mask = Canvas.parse("left=1000%", (8, 64)).grow(Image.new("RGB", (8, 64), "red"))
    sizes, scribbler = [], Scribbler()

    def restore(painting, reference, hole):
        sizes.append((painting.size, reference.getpixel((reference.width - 9, 0))))
        return Image.new("RGB", painting.size, "blue")

    result = scribbler("x", picture, mask, restore=restore)
    assert [size for size, _ in sizes] == [(40, 64), (88, 64)]
    assert sizes[1][1] == (0, 0, 255)
    assert result.crop((80, 0, 88, 64)).getcolors() == [(512, (255, 0, 0))]
    assert result.crop((0, 0, 80, 64)).getcolors() == [(5120, (0, 0, 255))]


def test_a_restorer_of_a_batch_sees_each_version():
    picture, mask = noise("RGB", (40, 40), np.random.default_rng(1)), Image.new("L", (40, 40))
    mask.paste(255, (0, 0, 8, 8))
    seen = []
    Scribbler().batch("x", [1, 2], picture, mask, restore=lambda painting, *rest: seen.append(painting) or painting)
    assert len(seen) == 2 and seen[0].tobytes() != seen[1].tobytes()


@pytest.fixture(scope="module", params=[("sd15_inpaint", None), ("sdxl_inpaint", None), ("sdxl", "inpainting")])
def inpainter(goldens, request):
    folder, task = request.param
    return load_pipeline(goldens.folder(folder), task=task, device="cpu")


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    mask = Image.new("L", (97, 61))
    mask.paste(255, (20, 10, 60, 40))
    return noise("RGB", mask.size, rng), mask


def test_the_models_paint_inside_the_mask_only(inpainter, scene):
    picture, mask = scene
    seen, previews = [], []
    result = inpainter("a cat", picture, mask, steps=3, seed=1, on_step=lambda *step: seen.append(step),
                       on_preview=lambda step, image: previews.append(image.size))  # fmt: skip
    marked, before, after = np.asarray(mask) > 0, np.asarray(picture), np.asarray(result)
    assert np.array_equal(before[~marked], after[~marked])
    assert (before[marked] != after[marked]).any(-1).mean() > 0.9
    assert seen[-1][0] == seen[-1][1] == len(seen) == len(previews)
    assert max(previews[0]) <= 256


def test_same_seed_same_bytes_and_a_batch_is_its_single_pictures(inpainter, scene):
    alone = [np.asarray(inpainter("a cat", *scene, steps=2, seed=seed)).astype(int) for seed in (3, 4)]
    together = inpainter.batch("a cat", [3, 4], *scene, steps=2)
    assert np.abs(alone[0] - alone[1]).max() > 1
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one - np.asarray(other)).max() <= 1


def test_without_a_picture_a_whole_one_is_painted(inpainter):
    assert inpainter("a cat", steps=2).size == (64, 64)
    assert inpainter("a cat", steps=1, size=(48, 64)).size == (48, 64)


def test_growing_a_picture_keeps_it_and_goes_in_stages(inpainter):
    picture = noise("RGBA", (20, 31), np.random.default_rng(1))
    canvas, seen = Canvas(20, 31, left=50, bottom=40), []
    result = inpainter("a cat", *canvas.grow(picture), steps=2, growth=2, on_step=lambda *step: seen.append(step))
    assert result.size == (70, 71)
    assert canvas.shrink(result).tobytes() == picture.tobytes()
    assert seen[-1][0] == seen[-1][1] == len(seen)
    stages = len(seen) // (2 if inpainter.strength == 1 else 1)
    assert stages == 2  # 20 -> 40 -> 70


def test_later_stages_continue_what_earlier_ones_painted():
    scribbler = Scribbler()
    picture = Image.new("RGB", (16, 16), "red")
    result = np.asarray(scribbler("x", *Canvas(16, 16, 24, 24, 24, 24).grow(picture), seed=5, growth=2))
    assert len(scribbler.seen) == 2
    assert not (np.asarray(scribbler.seen[1][0]) == np.asarray(scribbler.seen[1][0])[0, 0]).all()
    assert (result[24:40, 24:40] == (255, 0, 0)).all()


def test_only_around_the_mask_is_at_the_pictures_own_resolution():
    scribbler, rng = Scribbler(), np.random.default_rng(2)
    picture, mask = noise("RGB", (640, 480), rng), Image.new("L", (640, 480))
    mask.paste(255, (300, 200, 330, 220))
    scribbler("x", picture, mask, area="mask")
    shown, marked, _ = scribbler.seen[0]
    assert shown.size == (64, 64)
    assert shown.tobytes() == picture.crop((283, 178, 347, 242)).tobytes()
    assert np.asarray(marked).sum() == 255 * 30 * 20


def test_soft_masks_mix_and_leave_black_alone():
    picture = Image.new("RGB", (64, 64), (10, 10, 10))
    mask = Image.linear_gradient("L").resize((64, 64)).point(lambda value: max(0, value - 20))
    result = np.asarray(Scribbler()("x", picture, mask, soft=True)).astype(int)
    hard = np.asarray(Scribbler()("x", picture, mask)).astype(int)
    weight = np.asarray(mask)[..., None] / 255
    assert (result[np.asarray(mask) == 0] == 10).all()
    mixed = 10 + weight * (np.asarray(noise("RGB", (64, 64), np.random.default_rng(0))).astype(int) - 10)
    assert np.abs(result - mixed).max() <= 1
    assert (hard != result).any()


def test_a_thin_line_is_not_lost_when_a_large_picture_is_worked_on_small():
    scribbler, mask = Scribbler(), Image.new("L", (1499, 900))
    mask.paste(255, (0, 450, 1499, 451))
    scribbler("x", Image.new("RGB", mask.size), mask)
    assert np.asarray(scribbler.seen[0][1]).any(0).all()


def test_depth_transparency_and_colour_profile_survive_in_the_file(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for mode in ("I;16", "RGBA", "RGB", "LA"):
        picture = noise(mode, (45, 33), np.random.default_rng(3))
        picture.save(tmp_path / "in.png", icc_profile=profile)
        opened = open_image(tmp_path / "in.png", exact=True)
        mask = Image.new("L", opened.size)
        mask.paste(255, (10, 10, 20, 20))
        Scribbler()("x", opened, mask).save(tmp_path / "out.png")
        saved = Image.open(tmp_path / "out.png")
        assert saved.info["icc_profile"] == profile and saved.mode == mode
        kept = np.asarray(mask) == 0
        assert np.array_equal(np.asarray(saved)[kept], np.asarray(picture)[kept])


def test_a_transparent_palette_keeps_its_transparency():
    picture = noise("P", (40, 40), np.random.default_rng(4))
    picture.info["transparency"] = 3
    mask = Image.new("L", (40, 40))
    mask.paste(255, (0, 0, 8, 8))
    result = Scribbler()("x", picture, mask)
    assert result.mode == "RGBA"
    assert np.array_equal(np.asarray(result)[8:], np.asarray(picture.convert("RGBA"))[8:])


def blank(mode="RGB", size=(30, 20), colour=0):
    return Image.new(mode, size, colour)


def hole(size=(30, 20)):
    mask = Image.new("L", size)
    mask.putpixel((0, 0), 255)
    return mask


@pytest.mark.parametrize(
    ("picture", "mask", "options", "message"),
    [
        (blank(), hole((20, 30)), {}, "the mask is 20x30 but the picture 30x20"),
        (blank(), blank("L"), {}, "the mask is empty"),
        (blank(), blank("RGB"), {}, "the mask is empty"),
        (blank(), blank("L", colour=255), {}, "covers the whole picture"),
        (blank(size=(1, 1)), blank("L", (1, 1), 255), {}, "covers the whole picture"),
        (blank(size=(1, 1)), blank("L", (1, 1)), {}, "the mask is empty"),
        (blank("LAB"), hole(), {}, "mode LAB cannot be painted into"),
        (blank(), None, {}, "without a mask"),
        (None, hole(), {}, "without a picture"),
        (blank(), hole(), {"strength": 0}, "strength 0"),
        (blank(), hole(), {"strength": 1.5}, "strength 1.5"),
        (blank(), hole(), {"strength": float("nan")}, "strength nan"),
        (blank(), hole(), {"strength": 0.1, "steps": 5}, "none of 5 steps"),
        (blank(), hole(), {"steps": 0}, "0 steps"),
        (blank(), hole(), {"area": "face"}, "unknown area 'face'"),
        (blank(), hole(), {"size": (63, 64)}, "63 is not a multiple"),
    ],
)
def test_what_cannot_be_inpainted_is_one_sentence(picture, mask, options, message):
    with pytest.raises(UserError, match=message) as caught:
        Scribbler()("x", picture, mask, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_masks_of_every_mode_are_read(mode):
    mask = hole().convert("I").point(lambda value: value * 257).convert("I;16") if mode == "I;16" else hole()
    mask = mask if mode == "I;16" else mask.convert(mode)
    result = np.asarray(Scribbler()("x", blank(), mask, seed=1))
    assert result[0, 0].any() and not result[1:].any()


@pytest.mark.parametrize("size", [(2, 1), (1, 40), (1500, 17)])
def test_extreme_shapes_are_painted(inpainter, size):
    picture, mask = blank(size=size), hole(size)
    result = inpainter("a cat", picture, mask, steps=1)
    assert result.size == size
    assert not np.asarray(result).reshape(-1, 3)[1:].any()


def test_a_damaged_vae_is_told(goldens, scene):
    inpainter = load_pipeline(goldens.folder("sd15_inpaint"), device="cpu")
    with torch.no_grad():
        inpainter.pipe.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="VAE gave no finite numbers"):
        inpainter("a cat", *scene, steps=1)
    with torch.no_grad():
        inpainter.pipe.unet.conv_out.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="diffusion model gave no finite numbers"):
        inpainter("a cat", *scene, steps=1)


def test_nine_channels_saved_as_text_to_image_are_inpainting(goldens, tmp_path):
    """As the original's trainer saved its results."""
    folder = shutil.copytree(goldens.folder("sdxl_inpaint"), tmp_path / "pipe")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionXLInpaintPipeline", "StableDiffusionXLPipeline"))
    assert load_pipeline(folder, device="cpu").family.name == "sdxl-inpainting"
    with pytest.raises(UserError, match="9 channels, which sdxl does not"):
        load_pipeline(folder, name="sdxl", device="cpu")


def test_the_record_says_the_strength(inpainter):
    assert inpainter.describe()["strength"] == inpainter.family.strength


@torch.no_grad()
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_picture_is_shown_as_the_vaes_statistics_say(goldens, name):
    painter = load_pipeline(goldens.folder(name), task="inpainting", device="cpu")
    pixels = painter.pipe.image_processor.preprocess(goldens.picture("inpaint_image.png").convert("RGB"))
    shown = painter.pipe._encode_vae_image(pixels, torch.Generator().manual_seed(0))
    vae = painter.pipe.vae
    vae.register_to_config(latents_mean=[0.5, -1.0, 0.0, 2.0], latents_std=[2.0, 1.0, 0.5, 3.0])
    twin = from_pipe(painter)
    again = twin.pipe._encode_vae_image(pixels, torch.Generator().manual_seed(0))
    assert not torch.allclose(again, shown, atol=0.1)
    torch.testing.assert_close(unscaled(vae, again), shown / vae.config.scaling_factor, atol=1e-5, rtol=1e-5)


def fine(size=(96, 60), channels=3):
    values = np.random.default_rng(0).integers(0, 65_536, (*size[::-1], channels), dtype=np.uint16)
    return deep.of_levels(values), values


@pytest.mark.parametrize("restore", [None, load_restorer("match+blend")])
@pytest.mark.parametrize(("channels", "area", "soft"), [(3, "picture", False), (4, "mask", False), (3, "mask", True)])
def test_colours_of_16_bits_keep_every_bit_outside_the_mask(channels, area, soft, restore):
    picture, values = fine(channels=channels)
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).rectangle((30, 20, 50, 40), fill=255)
    result = Scribbler()("x", picture, mask, area=area, soft=soft, restore=restore)
    found, hole = deep.levels(result), np.asarray(mask) > 0
    np.testing.assert_array_equal(found[~hole], values[~hole])
    assert found[hole][:, :3].max() > 60_000


def test_colours_of_16_bits_stay_when_a_picture_grows_in_stages():
    picture, values = fine((40, 24))
    canvas = Canvas(40, 24, 60, 30, 60, 30)
    result = Scribbler()("x", *canvas.grow(picture), growth=2)
    np.testing.assert_array_equal(deep.levels(canvas.shrink(result)), values)
    assert deep.levels(result).shape == (84, 160, 3)
