"""The contract holds for families that came later: tiny random models of each one's own classes."""

import inspect
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from llmga.changes import change
from llmga.diffusers.adapters import add_loras, remove_loras, use_controlnet, use_ip_adapter
from llmga.diffusers.components import for_task, from_pipe
from llmga.diffusers.families import EDITING, INPAINTING, TEXT_TO_IMAGE
from llmga.diffusers.newer_families import NEWER_FAMILIES
from llmga.diffusers.pipelines import PIPELINES, load_pipeline
from llmga.errors import UserError
from tests.diffusers import newer_toys

SIZE = (64, 64)
# A maker of `newer_toys`, and the row that its folder is.
PAINTERS = {
    "sd3": "sd3", "sd35": "sd35", "flux": "flux", "schnell": "flux-schnell", "klein": "flux2-klein",
    "klein_base": "flux2-klein-base", "qwen": "qwen-image", "z_image": "z-image", "z_image_turbo": "z-image-turbo",
}  # fmt: skip
EDITORS = {
    "kontext": "flux-kontext", "qwen_edit": "qwen-image-edit", "qwen_edit_plus": "qwen-image-edit-plus",
    "pix2pix": "sd15-pix2pix", "pix2pix_xl": "sdxl-pix2pix",
}  # fmt: skip
DISTILLED = ("schnell", "klein", "z_image_turbo")
WITHOUT_NEGATIVE = (*DISTILLED, "flux")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """`opened(name)` is a pipeline with weights of its own, made once."""
    root, known = tmp_path_factory.mktemp("newer"), {}

    def open_one(name):
        if name not in known:
            newer_toys.saved(name, root / name)
            known[name] = load_pipeline(root / name, device="cpu")
        return known[name]

    return open_one


@pytest.fixture(scope="module", params=["sd3", "flux"])
def folder(opened, request):
    return opened(request.param).path


@pytest.fixture(scope="module")
def picture():
    return Image.radial_gradient("L").resize((71, 67)).convert("RGBA")


@pytest.fixture(scope="module")
def mask():
    mask = Image.new("L", (71, 67))
    mask.paste(255, (10, 10, 40, 30))
    return mask


@pytest.fixture
def small_looks(monkeypatch):
    """Qwen-Image-Edit looks at pictures of a megapixel whatever their size; here at smaller ones."""
    for kind in ("edit", "edit_plus", "edit_inpaint"):
        module = inspect.getmodule(PIPELINES["qwen-image-edit"].load_pipeline_class())
        name = module.__name__.replace("qwenimage_edit", f"qwenimage_{kind}")
        module = __import__(name, fromlist=["calculate_dimensions"])
        usual = module.calculate_dimensions
        monkeypatch.setattr(module, "calculate_dimensions", lambda area, ratio, usual=usual: usual(64 * 64, ratio))


def stock(pipe, prompt, seed, **options):
    """The picture of the library's own pipeline, called by hand."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return pipe(prompt=prompt, generator=generator, num_inference_steps=2, **options).images[0]


@pytest.mark.parametrize("name", PAINTERS)
def test_words_become_the_stock_pipelines_picture(opened, name):
    painter = opened(name)
    assert painter.family.name == PAINTERS[name] and painter.unit == 16
    seen, previews = [], []
    options = dict(size=(48, 64), steps=2)
    first = painter(
        "a cat", seed=1, on_step=lambda *step: seen.append(step), on_preview=lambda *each: previews.append(each),
        **options,
    )  # fmt: skip
    assert first.size == (48, 64) and seen == [(1, 2), (2, 2)]
    assert [(step, preview.size) for step, preview in previews] == [(1, (48, 64)), (2, (48, 64))]
    text = painter.family.text
    told = {text.scale: painter.family.guidance_scale, "max_sequence_length": text.lengths[0]}
    told |= {"negative_prompt": " "} if name == "qwen" else {}
    assert stock(painter.pipe, "a cat", 1, width=48, height=64, **told).tobytes() == first.tobytes()
    both = painter.batch("a cat", [2, 1], **options)
    assert np.abs(np.asarray(both[1], int) - np.asarray(first)).max() <= 1
    assert both[0].tobytes() != both[1].tobytes()
    assert painter.describe()["sampler"] == "FlowMatchEulerDiscreteScheduler"


@pytest.mark.parametrize("name", PAINTERS)
def test_the_last_preview_is_the_picture_but_smaller(opened, name):
    painter, previews = opened(name), []
    image = painter("a cat", size=SIZE, steps=1, on_preview=lambda step, small: previews.append(small))
    assert np.abs(np.asarray(previews[-1], float) - np.asarray(image)).mean() < 2


@pytest.mark.parametrize("name", PAINTERS)
def test_a_negative_prompt_counts_or_is_refused(opened, name):
    painter = opened(name)
    options = dict(seed=1, size=SIZE, steps=2)
    if name in WITHOUT_NEGATIVE:
        with pytest.raises(UserError, match=f"'ugly' cannot be followed: {painter.family.name} .*--negative-prompt"):
            painter("a cat", negative_prompt="ugly", **options)
        return
    plain = painter("a cat", **options)
    assert painter("a cat", negative_prompt="ugly", **options).tobytes() != plain.tobytes()
    off = painter.family.text.threshold
    unguided = painter("a cat", guidance_scale=off, **options)
    assert painter("a cat", negative_prompt="ugly", guidance_scale=off, **options).tobytes() == unguided.tobytes()


@pytest.mark.parametrize("name", DISTILLED)
def test_what_is_distilled_takes_no_guidance(opened, name):
    painter = opened(name)
    with pytest.raises(UserError, match=f"guidance scale 4 cannot be followed: {painter.family.name} is distilled"):
        painter("a cat", guidance_scale=4.0, steps=2)
    with pytest.raises(UserError, match="--guidance-scale"):
        painter.describe(guidance_scale=4.0)


@pytest.mark.parametrize("name", ["sd3", "flux", "schnell", "qwen", "klein", "z_image"])
def test_long_prompts_are_read_to_the_encoders_end_and_what_is_beyond_is_told(opened, name, caplog):
    painter = opened(name)
    text, asked = painter.family.text, []
    usual = painter.pipe.encode_prompt
    painter.pipe.encode_prompt = lambda **given: asked.append(given["max_sequence_length"]) or usual(**given)
    try:
        count = text.tokens(painter.pipe, "a") - 1
        most = "a" * (text.lengths[-1] - count) if name in ("qwen", "klein", "z_image") else None
        most = most or " ".join(["a"] * (text.lengths[-1] - count))
        assert painter.report(most) == f"{text.lengths[-1]} tokens"
        with caplog.at_level(logging.WARNING, "llmga"):
            painter(most, size=(32, 32), steps=1)
            assert "are read" not in caplog.text
            painter(most + " a", size=(32, 32), steps=1)
            painter("a cat", size=(32, 32), steps=1)
    finally:
        del painter.pipe.encode_prompt
    assert f"of which {text.lengths[-1]} are read" in caplog.text
    assert f"only the first {text.lengths[-1]} are read" in painter.report(most + " a")
    assert (asked[0], asked[-1]) == (text.lengths[-1], text.lengths[0])


@pytest.mark.parametrize("name", [*PAINTERS, "fill", "kontext"])
def test_they_repaint_and_keep_the_rest(opened, name, picture, mask):
    painter = for_task(opened(name), INPAINTING)
    seen = []
    options = dict(steps=3, size=SIZE)
    result = painter("a cat", picture, mask, seed=5, on_step=lambda *step: seen.append(step), **options)
    kept = np.asarray(mask) == 0
    assert result.mode == "RGBA" and seen[-1] == (len(seen), len(seen))
    assert np.array_equal(np.asarray(result)[kept], np.asarray(picture)[kept])
    assert (np.asarray(result)[~kept] != np.asarray(picture)[~kept]).any()
    both = painter.batch("a cat", [4, 5], picture, mask, **options)
    assert both[1].tobytes() == result.tobytes() != both[0].tobytes()
    assert painter("a cat", size=SIZE, steps=2).size == SIZE  # a whole one, of nothing


def test_qwens_editor_fills_at_a_size_of_its_own(opened, picture, mask, small_looks):
    painter = for_task(opened("qwen_edit"), INPAINTING)
    result = painter("a cat", picture, mask, steps=2, size=(48, 64))
    kept = np.asarray(mask) == 0
    assert painter.family.name == "qwen-image-edit-inpainting"
    assert np.array_equal(np.asarray(result)[kept], np.asarray(picture)[kept])


@pytest.mark.parametrize("name", ["sd3", "flux", "schnell", "qwen", "z_image"])
def test_pictures_become_others_like_them(opened, name, picture):
    painter = for_task(opened(name), EDITING)
    assert painter.edits_by == "likeness"
    near, far = (painter("a cat", picture, seed=1, steps=10, size=SIZE, skip=skip) for skip in (0.8, 0.1))
    assert near.size == picture.size and near.mode == "RGBA"
    distances = [np.abs(np.asarray(each, float) - np.asarray(far)).mean() for each in (near, far)]
    assert distances[0] > 0
    assert painter("a cat", picture, seed=1, steps=10, size=SIZE, skip=0.8).tobytes() == near.tobytes()
    pipe = for_task(opened(name), EDITING).pipe
    canvas = picture.convert("RGB").resize((64, 64))
    told = {painter.family.text.scale: painter.family.guidance_scale, "max_sequence_length": 512, "strength": 0.5}
    told |= {"negative_prompt": " "} if name == "qwen" else {}
    told["max_sequence_length"] = painter.family.text.lengths[0]
    ours = painter("a cat", canvas, seed=3, steps=2, size=SIZE, skip=0.5)
    assert stock(pipe, "a cat", 3, image=canvas, width=64, height=64, **told).tobytes() == ours.tobytes()
    with pytest.raises(UserError, match="skip 0.9 leaves none of 2 steps"):
        painter("a cat", picture, steps=2, skip=0.9, size=SIZE)
    with pytest.raises(UserError, match="skip 1 is out of range"):
        painter("a cat", picture, steps=2, skip=1, size=SIZE)


@pytest.mark.parametrize("name", [*EDITORS, "klein", "klein_base"])
def test_an_instruction_changes_a_picture_as_the_stock_pipeline_does(opened, name, picture, mask, small_looks):
    painter = for_task(opened(name), EDITING)
    assert painter.edits_by == "instruction"
    assert painter.family.name == (EDITORS.get(name) or f"{PAINTERS[name]}-editing")
    seen, previews = [], []
    result = painter(
        "make it night", picture, seed=3, steps=2, size=SIZE, on_step=lambda *step: seen.append(step),
        on_preview=lambda step, small: previews.append(small.size), source_prompt="", skip=0.2, ratio=1.0,
    )  # fmt: skip
    assert (result.size, result.mode) == (picture.size, "RGBA")
    assert seen == [(1, 2), (2, 2)] and previews == [(64, 64)] * 2
    assert painter("make it night", picture, seed=3, steps=2, size=SIZE).tobytes() == result.tobytes()
    assert painter("make it day", picture, seed=3, steps=2, size=SIZE).tobytes() != result.tobytes()
    canvas = picture.convert("RGB").resize((64, 64))
    ours = painter("make it night", canvas, seed=3, steps=2, size=SIZE)
    told = {"width": 64, "height": 64}
    if name == "kontext":
        told |= {"max_area": 64 * 64, "_auto_resize": False}
    if name.startswith("qwen"):
        told |= {"negative_prompt": " ", "true_cfg_scale": 4.0}
    else:
        told["guidance_scale"] = painter.family.guidance_scale
    if name == "pix2pix":
        told = {"guidance_scale": 7.5}
    theirs = stock(painter.pipe, "make it night", 3, image=canvas, **told)
    assert np.abs(np.asarray(theirs, int) - np.asarray(ours)).max() <= 1
    kept = np.asarray(mask) == 0
    part = painter("make it night", picture, mask, seed=3, steps=2, size=SIZE)
    assert np.array_equal(np.asarray(part)[kept], np.asarray(picture)[kept])
    assert change(picture, part).box[0] >= 10 and change(picture, part).box[2] <= 40


def test_pix2pix_keeps_as_close_to_the_picture_as_is_asked(opened, picture):
    for name in ("pix2pix", "pix2pix_xl"):
        options = dict(seed=3, steps=2, size=SIZE)
        usual, closer = (
            opened(name)("make it night", picture, picture_guidance=guidance, **options) for guidance in (1.5, 3)
        )
        assert opened(name)("make it night", picture, **options).tobytes() == usual.tobytes() != closer.tobytes()
    with pytest.raises(UserError, match="picture guidance 0.5 is out of range; use 1 to 100"):
        opened("pix2pix")("it", picture, picture_guidance=0.5)
    with pytest.raises(UserError, match="it is for InstructPix2Pix, and .* is flux-kontext; leave out"):
        opened("kontext")("it", picture, picture_guidance=2.0)


@pytest.mark.parametrize("name", ["qwen_edit", "pix2pix", "pix2pix_xl"])
def test_what_only_changes_pictures_paints_none(opened, name):
    with pytest.raises(UserError, match="changes pictures and paints none from words; give a picture"):
        opened(name)("a cat", steps=1)


def test_what_looks_at_pictures_also_paints_from_words(opened):
    assert opened("kontext")("a cat", steps=1, size=(48, 32)).size == (48, 32)
    with pytest.raises(UserError, match="size 64x48 is none .*64 pixels a side"):
        for_task(opened("klein"), EDITING)("it", Image.new("RGB", (64, 48)), steps=1, size=(64, 48))


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("fill", EDITING, "is made for inpainting, not for editing"),
        ("pix2pix", INPAINTING, "is made for editing, not for inpainting"),
        ("pix2pix_xl", TEXT_TO_IMAGE, None),
    ],
)
def test_a_task_that_the_weights_are_not_for_is_told_when_they_are_opened(opened, name, task, message):
    path = opened(name).path
    if message is None:
        assert load_pipeline(path, task=task, device="cpu").family.task == EDITING
        return
    with pytest.raises(UserError, match=message):
        load_pipeline(path, task=task, device="cpu")
    with pytest.raises(UserError, match=f"is not made for {task}"):
        for_task(opened(name), task)


def test_what_is_not_there_for_them_is_refused_in_one_sentence(opened, tmp_path):
    painter = opened("flux")
    with pytest.raises(UserError, match="sampler 'euler' is for SD1.5 and SDXL"):
        painter.use_sampler("euler")
    with pytest.raises(UserError, match="brackets as weights are for SD1.5 and SDXL; .*leave out --prompt-weights"):
        load_pipeline(painter.path, device="cpu", weighted=True)
    with pytest.raises(UserError, match="a ControlNet cannot guide flux"):
        use_controlnet(painter, tmp_path, Image.new("RGB", SIZE))
    with pytest.raises(UserError, match="an IP-Adapter cannot speak to flux"):
        use_ip_adapter(painter, tmp_path / "face.safetensors", Image.new("RGB", SIZE))


def test_what_is_no_number_is_told_and_not_painted_black(opened):
    painter = load_pipeline(opened("schnell").path, device="cpu")
    painter.denoiser.proj_out.bias.data[0] = float("nan")
    with pytest.raises(UserError, match="the diffusion model gave no finite numbers in float32; copy the checkpoint"):
        painter("a cat", steps=1, size=(32, 32))


def test_two_sessions_share_the_weights_but_no_scheduler(opened):
    painter = opened("sd3")
    other = from_pipe(painter)
    assert other.denoiser is painter.denoiser and other.pipe.scheduler is not painter.pipe.scheduler
    assert other("a", seed=1, steps=2, size=SIZE).tobytes() == painter("a", seed=1, steps=2, size=SIZE).tobytes()


def test_a_painting_ends_inside_a_step(opened):
    class Ended(Exception):
        pass

    looks, painter = [], opened("z_image")

    def look():
        looks.append(1)
        if len(looks) == 5:
            raise Ended

    with pytest.raises(Ended):
        painter("a cat", steps=9, size=(32, 32), still_wanted=look)
    assert len(looks) == 5


def test_every_row_is_of_a_class_of_the_library_and_of_one_architecture():
    for row in NEWER_FAMILIES:
        assert PIPELINES[row.name] is row and row.load_pipeline_class().__name__ == row.pipeline_class
        taken = inspect.signature(row.load_pipeline_class().__call__).parameters
        assert row.text.scale in taken and ("max_sequence_length" in taken or not row.text.lengths)
        assert row.name in (row.architecture, f"{row.architecture}-{row.task}")


@pytest.mark.parametrize(
    ("name", "parts", "spelling"),
    [("sd3", ("transformer", "text_encoder"), "peft"), ("flux", ("transformer", "text_encoder"), "peft"),
     ("sd3", ("transformer", "text_encoder"), "its first one"), ("klein", ("transformer",), "peft"),
     ("qwen", ("transformer",), "peft"), ("z_image", ("transformer",), "peft")],
)  # fmt: skip
def test_they_take_low_rank_weights_of_their_own(opened, name, parts, spelling, tmp_path):
    generator = load_pipeline(opened(name).path, device="cpu")
    paint = lambda: generator("a cat", seed=1, size=(32, 32), steps=2).tobytes()  # noqa: E731
    layers, tensors, plain = {}, {}, paint()
    ends = {"peft": (".lora_A.weight", ".lora_B.weight"), "its first one": (".lora.down.weight", ".lora.up.weight")}
    for part in parts:
        for layer_name, layer in getattr(generator.pipe, part).named_modules():
            if layer_name.endswith((".to_q", ".q_proj")):
                layers[f"{part}.{layer_name}"] = layer
    torch.manual_seed(0)
    for layer_name, layer in layers.items():
        down, up = (layer_name + end for end in ends[spelling])
        tensors |= {down: torch.randn(2, layer.in_features), up: torch.randn(layer.out_features, 2)}
    save_file(tensors, tmp_path / "it.safetensors")
    add_loras(generator, [str(tmp_path / "it.safetensors")])
    beside = paint()
    remove_loras(generator)
    assert paint() == plain
    matrices = list(tensors.values())
    for layer, down, up in zip(layers.values(), matrices[::2], matrices[1::2], strict=True):
        layer.weight.data += up @ down
    merged = paint()
    assert np.abs(np.frombuffer(beside, np.uint8).astype(int) - np.frombuffer(merged, np.uint8)).mean() <= 0.01
    assert beside != plain


@pytest.mark.parametrize("start", ["lycoris_", "lora_transformer_", "transformer."])
def test_they_take_lycoris_kinds_under_their_layers_own_names(folder, tmp_path, start):
    """LoKr of trainers that use diffusers' models (SimpleTuner, OneTrainer), against the weights merged by hand."""
    generator = load_pipeline(folder, device="cpu", dtype="fp32")
    paint = lambda: np.asarray(generator("a cat", size=(32, 32), seed=1, steps=2))  # noqa: E731
    plain, tensors, merged = paint(), {}, {}
    for name, layer in generator.denoiser.named_modules():
        if name.endswith("attn.to_q"):
            own = name if start.endswith(".") else name.replace(".", "_")
            one, two = torch.randn(4, 4), torch.randn(layer.out_features // 4, layer.in_features // 4)
            tensors |= {f"{start}{own}.lokr_w1": one, f"{start}{own}.lokr_w2": two}
            merged[name] = layer.weight.data + 0.5 * torch.kron(one, two)
    save_file(tensors, tmp_path / "it.safetensors")
    add_loras(generator, [f"{tmp_path / 'it.safetensors'}:0.5"])
    painted = paint()
    remove_loras(generator)
    assert np.array_equal(paint(), plain) and not np.array_equal(painted, plain)
    for name, weight in merged.items():
        generator.denoiser.get_submodule(name).weight.data = weight
    assert np.abs(paint().astype(int) - painted).max() <= 1


def test_lycoris_kinds_under_fused_names_are_told(folder, tmp_path):
    key = "lora_unet_double_blocks_0_img_attn_qkv"
    save_file({f"{key}.lokr_w{n}": torch.ones(2, 2) for n in (1, 2)}, tmp_path / "it.safetensors")
    with pytest.raises(UserError, match="hold LoKr under names that diffusers does not translate for this family"):
        load_pipeline(folder, device="cpu", loras=[str(tmp_path / "it.safetensors")])


def test_words_and_clip_skip_are_for_others(folder, tmp_path):
    save_file({"emb_params": torch.zeros(1, 32)}, tmp_path / "it.safetensors")
    with pytest.raises(UserError, match="is for SD1.5, SD2 and SDXL; .* learns no words"):
        load_pipeline(folder, device="cpu", embeddings=[f"{tmp_path / 'it.safetensors'}:my-style"])
    with pytest.raises(UserError, match="clip skip is for SD1.5 and SDXL"):
        load_pipeline(folder, device="cpu")("a cat", size=(32, 32), seed=1, steps=1, clip_skip=1)
