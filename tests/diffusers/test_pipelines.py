import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from llmga.diffusers.components import for_task, from_pipe
from llmga.diffusers.families import EDITING, INPAINTING, SDXL, TEXT_TO_IMAGE
from llmga.diffusers.long_prompt import encode_prompt
from llmga.diffusers.pipelines import PIPELINES, family_of, load_pipeline
from llmga.errors import UserError


@pytest.fixture(scope="session", params=["sd15", "sdxl"])
def generator(goldens, request):
    return load_pipeline(goldens.folder(request.param), device="cpu")


@pytest.fixture
def folder(goldens, tmp_path):
    return shutil.copytree(goldens.folder("sdxl"), tmp_path / "pipe")


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(
    ("folder", "task", "name"),
    [
        ("sd15", None, "sd15"),
        ("sdxl", None, "sdxl"),
        ("sd15_inpaint", None, "sd15-inpainting"),
        ("sdxl_inpaint", None, "sdxl-inpainting"),
        ("sd15", "inpainting", "sd15-inpainting"),
        ("sdxl", "editing", "sdxl-editing"),
    ],
)
def test_family_follows_the_pipeline_class_and_the_task(goldens, folder, task, name):
    index = json.loads((goldens.folder(folder) / "model_index.json").read_text())
    assert family_of(index["_class_name"], goldens.folder(folder), task).name == name


def test_picture_is_the_stock_pipelines(generator):
    pipe = generator.pipe
    embeds = generator.family.prompt_arguments(encode_prompt(pipe, ["a cat"], ["ugly"]))
    seed = torch.Generator("cpu").manual_seed(3)
    stock = pipe(**embeds, width=96, height=64, num_inference_steps=4, guidance_scale=6, generator=seed).images[0]
    ours = generator("a cat", negative_prompt="ugly", seed=3, steps=4, guidance_scale=6, size=(96, 64))
    assert ours.size == (96, 64)
    assert ours.tobytes() == stock.tobytes()


def test_same_seed_same_bytes_other_seed_other_picture(generator):
    first, again, other = (generator("a cat", seed=seed, steps=2).tobytes() for seed in (5, 5, 6))
    assert first == again != other


def test_every_step_is_reported_and_an_exception_stops(generator):
    seen = []
    generator("a cat", steps=3, on_step=lambda step, total: seen.append((step, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(step, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generator("a cat", steps=3, on_step=stop)


def test_long_prompts_and_uneven_negatives_paint(generator):
    generator("a bright star, " * 60, negative_prompt="bad", steps=1)
    generator("star", negative_prompt="bad noise, " * 60, steps=1, guidance_scale=0)


def test_native_size_is_the_default(generator):
    assert generator("a", steps=1).size == generator.native_size == (64, 64)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": (63, 64)}, "63.*56 or 64"),
        ({"size": (64, 4096)}, "4096.*2048"),
        ({"size": (8, 64)}, "8.*16"),
        ({"steps": 0}, "0 steps"),
        ({"steps": 5000}, "5000.*use 1 to"),
        ({"guidance_scale": -1.0}, "-1"),
        ({"guidance_scale": float("nan")}, "nan"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_values_out_of_range_are_told(generator, wrong, message):
    with pytest.raises(UserError, match=message):
        generator("a", **wrong)


def test_mask_is_refused_by_a_painter_from_words(generator):
    blank = generator("a", steps=1)
    with pytest.raises(UserError, match="inpainting"):
        generator("a", image=blank, mask=blank.convert("L"))


def test_checkpoint_states_its_own_defaults(folder):
    (folder / "generation_defaults.json").write_text(json.dumps({"steps": 2, "guidance_scale": 3.0}))
    generator = load_pipeline(folder, device="cpu")
    record = generator.describe()
    assert (record["steps"], record["guidance_scale"], record["sampler"]) == (2, 3.0, "EulerDiscreteScheduler")
    seen = []
    generator("a", on_step=lambda *step: seen.append(step))
    assert seen[-1] == (2, 2)


@pytest.mark.parametrize("defaults", ['{"stepps": 3}', '{"steps": "3"}', '{"layout": "x"}', "[", "[]"])
def test_wrong_defaults_are_told(folder, defaults):
    (folder / "generation_defaults.json").write_text(defaults)
    with pytest.raises(UserError):
        load_pipeline(folder, device="cpu")


@pytest.mark.parametrize(
    "missing",
    ["model_index.json", "vae", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
     "text_encoder_2/model.safetensors", "tokenizer/merges.txt", "scheduler/scheduler_config.json"],
)  # fmt: skip
def test_what_a_checkpoint_lacks_is_named(folder, missing):
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=missing.split("/")[-1]):
        load_pipeline(folder, device="cpu")


def test_damaged_weights_are_told(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged"):
        load_pipeline(folder, device="cpu")


def test_bare_name_is_found_on_the_shelf(folder, monkeypatch, tmp_path):
    shutil.copytree(folder, tmp_path / "checkpoints/Inference/mine")
    monkeypatch.chdir(tmp_path)
    assert load_pipeline("mine", device="cpu").family.name == "sdxl"


@pytest.mark.parametrize("path", ["nowhere", "./nowhere", "/nowhere/at/all"])
def test_a_path_that_is_not_there_is_told(path):
    with pytest.raises(UserError, match="no local folder"):
        load_pipeline(path, device="cpu")


def test_half_precision_weights_open_in_single_precision_on_cpu(goldens, folder):
    pipe = PIPELINES["sdxl"].load_pipeline_class().from_pretrained(folder, dtype=torch.float16)
    pipe.save_pretrained(folder)
    generator = load_pipeline(folder, device="cpu")
    assert generator.describe()["dtype"] == "float32"
    assert generator("a", steps=2).size == (64, 64)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_painter_from_words_does_the_other_tasks_with_the_same_weights(goldens, name):
    painter = load_pipeline(goldens.folder(name), device="cpu", sampler="euler")
    for task in (INPAINTING, EDITING):
        twin = for_task(painter, task)
        assert twin is for_task(painter, task) and twin.family.name == f"{name}-{task}"
        assert twin.pipe.unet is painter.pipe.unet and twin.sampler_name == "euler"
        assert twin.pipe.config.get("force_zeros_for_empty_prompt") == painter.pipe.config.get(
            "force_zeros_for_empty_prompt"
        )
    painter.use_sampler("ddim")
    assert for_task(painter, INPAINTING).sampler_name == "ddim"
    painter.use_sampler("checkpoint")
    assert type(for_task(painter, INPAINTING).pipe.scheduler) is type(painter.own_scheduler)
    assert for_task(painter, "text-to-image") is painter


def test_a_twin_paints_what_a_checkpoint_opened_for_the_task_paints(goldens):
    picture, mask = Image.new("RGB", (40, 30), "red"), Image.new("L", (40, 30))
    mask.paste(255, (0, 0, 20, 30))
    folder = goldens.folder("sdxl")
    painters = for_task(load_pipeline(folder, device="cpu"), INPAINTING), load_pipeline(folder, task=INPAINTING)
    assert len({painter("a cat", picture, mask, seed=3, steps=2).tobytes() for painter in painters}) == 1


def test_an_inpainting_checkpoint_does_not_edit(goldens):
    painter = load_pipeline(goldens.folder("sdxl_inpaint"), device="cpu")
    assert for_task(painter, INPAINTING) is for_task(painter, "text-to-image") is painter
    with pytest.raises(UserError, match="not made for editing"):
        for_task(painter, EDITING)


def test_a_unet_of_nine_channels_as_editor_is_sent_to_the_inpainter(goldens):
    """As some were saved: under the class of painters from words."""
    with pytest.raises(UserError, match="takes 9 channels, .* it paints marked parts: give it as --inpainter"):
        load_pipeline(goldens.folder("sdxl_inpaint"), task="editing", device="cpu")


def test_a_checkpoint_that_was_opened_for_editing_fills_too(goldens):
    painter = load_pipeline(goldens.folder("sdxl"), device="cpu", task=EDITING)
    assert for_task(painter, INPAINTING).family.name == "sdxl-inpainting"


def test_a_partner_fills_in_place_of_a_painter_from_words_also_for_its_twins(goldens):
    painter, partner = (load_pipeline(goldens.folder(name), device="cpu") for name in ("sdxl", "sdxl_inpaint"))
    painter.dedicated[INPAINTING] = partner
    assert for_task(painter, INPAINTING) is partner and for_task(painter, TEXT_TO_IMAGE) is painter
    assert for_task(painter, EDITING).pipe.unet is painter.pipe.unet
    painter.use_sampler("ddim")
    assert for_task(painter, INPAINTING).sampler_name == "ddim"
    painter.use_sampler()
    assert for_task(painter, INPAINTING).sampler_name == "checkpoint"
    twin = for_task(from_pipe(painter), INPAINTING)
    assert twin is not partner and twin.pipe.unet is partner.pipe.unet


def test_what_is_no_painter_of_ours_is_left_alone():
    assert for_task(len, EDITING) is len


def with_scheduler(folder, name, **stated):
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"_class_name": name, **stated}))
    index = json.loads((folder / "model_index.json").read_text()) | {"scheduler": ["diffusers", name]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


KINDS = {
    "EDM": ("EDMDPMSolverMultistepScheduler", {"sigma_data": 0.5, "sigma_max": 80.0}),
    "flow-matching": ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_without_a_schedule_of_betas_paint_by_their_own_scheduler_only(folder, kind, monkeypatch):
    name, stated = KINDS[kind]
    painter = load_pipeline(with_scheduler(folder, name, **stated), device="cpu")
    picture = painter("a cat", steps=3)
    assert painter.describe()["sampler"] == name and len(set(picture.getdata())) > 1
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, 32, 64))
    for_task(painter, INPAINTING)("a cat", picture, mask, steps=3)
    with pytest.raises(UserError, match=f"kind {kind}"):
        painter.use_sampler("euler")
    assert painter.sampler_name == "checkpoint"
    with pytest.raises(UserError, match=f"kind {kind}"):
        for_task(painter, EDITING)
    monkeypatch.setattr("llmga.diffusers.assembly.open_pipeline", None)  # told before any weights are opened
    with pytest.raises(UserError, match=f"kind {kind}"):
        load_pipeline(folder, device="cpu", sampler="ddim")
    with pytest.raises(UserError, match=f"kind {kind}"):
        load_pipeline(folder, device="cpu", task=EDITING)


def test_a_scheduler_that_the_pipeline_cannot_call_is_told(folder):
    with pytest.raises(UserError, match="kind flow-matching .* cannot sample"):
        load_pipeline(with_scheduler(folder, "FlowMatchEulerDiscreteScheduler"), device="cpu")


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"])
def test_two_files_that_name_schedulers_of_different_kinds_are_told(folder, name):
    file = folder / "scheduler/scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"_class_name": name}))
    with pytest.raises(UserError, match=f"in model_index.json, but {name}, of another kind"):
        load_pipeline(folder, device="cpu")


def test_a_row_registered_from_outside_is_found_by_name_and_by_its_class(folder, monkeypatch):
    monkeypatch.setattr(PIPELINES, "_rows", dict(PIPELINES))

    class OwnPipeline(StableDiffusionXLPipeline):
        pass

    PIPELINES.register("own", replace(SDXL, name="own", pipeline_class=OwnPipeline, steps=2, guidance_scale=3.0))
    PIPELINES.register("sdxl-fast", replace(SDXL, name="sdxl-fast", steps=3))
    named = load_pipeline(folder, name="own", device="cpu")
    assert type(named.pipe) is OwnPipeline and (named.steps, named.guidance_scale) == (2, 3.0)
    fast = load_pipeline(folder, name="sdxl-fast", device="cpu")
    assert fast.steps == 3 and for_task(fast, INPAINTING).family.name == "sdxl-inpainting"
    assert load_pipeline(folder, device="cpu").family is SDXL  # ours stays what a class of diffusers means
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionXLPipeline", "OwnPipeline"))
    assert load_pipeline(folder, device="cpu").family.name == "own"
