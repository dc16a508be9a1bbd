"""A checkpoint in one file paints what its folder paints; what it is, it says itself, or what was assumed is told."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import infer_diffusers_model_type
from safetensors.torch import load_file

from llmga.diffusers.assembly import assemble
from llmga.diffusers.checkpoints import find_checkpoint
from llmga.diffusers.families import INPAINTING
from llmga.diffusers.file_kinds import recognise
from llmga.diffusers.noise import read_scheduler
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.published import PAINTERS, empty_painter
from llmga.diffusers.single_file.checkpoint import SingleFile
from llmga.diffusers.single_file.families import FAMILIES, UNET, VAE
from llmga.diffusers.single_file.shapes import below, text_config, unet_config, vae_config
from llmga.diffusers.single_file.writing import to_file
from llmga.diffusers.train.planning import plan
from llmga.diffusers.train.train import train
from llmga.errors import UserError
from tests.diffusers import tiny_files as tiny

CASES = [(family, channels) for family in ("sd15", "sd2", "sdxl") for channels in (4, 9)]
OFTEN = {"size": (32, 32), "steps": 2, "seed": 3}


@pytest.fixture(scope="module")
def tokens(goldens):
    return goldens.folder("sd15") / "tokenizer"


@pytest.fixture(scope="module")
def made(tokens, tmp_path_factory):
    """(family, channels) -> the folder and the file of one tiny random pipeline, made once each.

    Both are in half precision, as published ones are.  Weights that a CPU takes as they lie in a file lie at other
    addresses in another file, and sums of single precision may differ in their last bit for it.
    """
    root, known = tmp_path_factory.mktemp("single"), {}

    def make(family, channels=4):
        if (family, channels) not in known:
            models, place = tiny.parts(family, channels), root / f"{family}-{channels}"
            for model in models.values():
                model.half()
            tiny.pipeline(family, channels, models, tokens).save_pretrained(place)
            known[family, channels] = place, tiny.write(place / "model.safetensors", tiny.ldm(family, models))
        return known[family, channels]

    return make


def same(pipe, other):
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        if getattr(other, name, None) is not None:
            ours, theirs = getattr(pipe, name).state_dict(), getattr(other, name).state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


@pytest.mark.parametrize(("family", "channels"), CASES)
def test_a_single_file_paints_the_pictures_of_its_folder(family, channels, made, tokens):
    folder, file = made(family, channels)
    whole, single = (load_pipeline(place, device="cpu", tokenizer=tokens) for place in (folder, file))
    assert single.family == whole.family and (single.family.task == INPAINTING) == (channels == 9)
    same(single.pipe, whole.pipe)
    paint = whole("a red ball on a table", **OFTEN), single("a red ball on a table", **OFTEN)
    assert paint[0].tobytes() == paint[1].tobytes()


@pytest.mark.parametrize("name", PAINTERS)
def test_the_published_configurations_follow_from_the_shapes_of_the_published_files(name):
    models, family = empty_painter(name), FAMILIES["sdxl" if "xl" in name else "sd15"]
    shapes = {key: tuple(each.shape) for key, each in tiny.ldm(family.name, models).items()}
    kind = recognise(shapes, {})
    assert (kind.family, kind.channels) == (family.name, 9 if "inpainting" in name else 4)
    known = {"sd15": ("v1", "inpainting"), "sdxl": ("xl_base", "xl_inpaint")}[family.name]  # diffusers' own words
    assert infer_diffusers_model_type(tiny.ldm(family.name, models)) == known["inpainting" in name]
    found = {"unet": unet_config(below(shapes, UNET), family), "vae": vae_config(below(shapes, VAE))}
    found |= {each.part: text_config(below(shapes, each.prefixes[0]), each) for each in family.towers}
    for part, config in found.items():
        own = dict(models[part].config) if part in ("unet", "vae") else models[part].config.to_dict()
        plain = {key: list(own[key]) if isinstance(own[key], tuple) else own[key] for key in config}
        assert config == plain, part


def test_diffusers_itself_opens_the_file_with_these_configurations(made, tokens):
    from diffusers import StableDiffusionXLPipeline

    _, file = made("sdxl")
    configs = assemble(file, tokenizer=tokens).configs
    theirs = StableDiffusionXLPipeline.from_single_file(str(file), config=str(configs), local_files_only=True)
    same(load_pipeline(file, device="cpu", tokenizer=tokens).pipe, theirs)


def test_a_ckpt_with_its_trainers_numbers_opens(made, tokens, tmp_path):
    _, file = made("sd15")
    torch.save({"global_step": 470000, "state_dict": load_file(file)}, tmp_path / "model.ckpt")
    same(load_pipeline(tmp_path / "model.ckpt", device="cpu", tokenizer=tokens).pipe,
         load_pipeline(file, device="cpu", tokenizer=tokens).pipe)  # fmt: skip


def test_a_ckpt_with_python_objects_stays_closed(made, tmp_path):
    _, file = made("sd15")
    torch.save({"callbacks": {PathLike: 1}, "state_dict": load_file(file)}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=r"holds Python objects beside tensors, which could run code, and stays closed"):
        load_pipeline(tmp_path / "model.ckpt", device="cpu")


class PathLike:
    """Stands for what pytorch-lightning pickles beside weights."""


def test_a_folder_with_nothing_but_a_single_file_opens_and_with_several_asks_which(made, tmp_path):
    _, file = made("sd15")
    shutil.copy(file, tmp_path / "one.safetensors")
    (tmp_path / "README.md").write_text("words")
    assert find_checkpoint(tmp_path) == tmp_path / "one.safetensors"
    shutil.copy(file, tmp_path / "two.ckpt")
    with pytest.raises(UserError, match=r"several files \(one.safetensors, two.ckpt\); give the path of one"):
        find_checkpoint(tmp_path)


def test_old_names_of_clip_are_read(made, tokens, tmp_path):
    _, file = made("sd15")
    old = {name.replace("transformer.text_model.", "transformer."): each for name, each in load_file(file).items()}
    tiny.write(tmp_path / "old.safetensors", old)
    same(load_pipeline(tmp_path / "old.safetensors", device="cpu", tokenizer=tokens).pipe,
         load_pipeline(file, device="cpu", tokenizer=tokens).pipe)  # fmt: skip


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_smaller_number_formats_open_in_the_one_that_is_asked_for(stored, made, tokens, tmp_path):
    _, file = made("sdxl")
    less = {name: each.to(stored) for name, each in load_file(file).items()}
    path = tiny.write(tmp_path / "less.safetensors", less)
    pipe = load_pipeline(path, device="cpu", dtype="fp32", tokenizer=tokens).pipe
    assert pipe.unet.dtype == pipe.vae.dtype == pipe.text_encoder_2.dtype == torch.float32
    assert torch.equal(pipe.unet.conv_in.weight, less[f"{UNET}input_blocks.0.0.weight"].float())
    second = pipe.text_encoder_2.text_model.encoder.layers[1].self_attn.k_proj.weight
    whole = less["conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight"].float()
    assert torch.equal(second, whole[40:80])


ONE = torch.ones(1)
MARKS = {
    "nothing": ("sdxl", {}, {}, "epsilon", "assumed"),
    "v_pred": ("sdxl", {"v_pred": torch.empty(0)}, {}, "v_prediction", "by its key v_pred"),
    "ztsnr": ("sdxl", {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}, {}, "v_prediction", "v_pred and ztsnr"),
    "metadata": ("sdxl", {}, {"modelspec.prediction_type": "v"}, "v_prediction", "by its metadata"),
    "sd2": ("sd2", {}, {}, "epsilon", "assumed"),
    "sd2 768": ("sd2", {f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias": torch.tensor([-1.0, 1.0])}, {},
                "v_prediction", "assumed from the spread"),
    "playground": ("sdxl", {"edm_mean": torch.zeros(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)}, {}, "epsilon",
                   "an EDM"),
    "cosxl": ("sdxl", {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}, {},
              "v_prediction", "an EDM"),
    "turbo": ("sdxl", {}, {"modelspec.title": "Some SDXL Turbo"}, "epsilon", "assumed"),
}  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_what_the_unet_says_is_read_from_its_makers_marks(mark, made, tokens, tmp_path, caplog):
    family, more, metadata, prediction, why = MARKS[mark]
    path = tiny.write(tmp_path / "marked.safetensors", load_file(made(family)[1]), metadata, **more)
    with caplog.at_level(logging.WARNING):
        configs = assemble(path, tokenizer=tokens).configs
    assert f"predicts {prediction} (" in caplog.text and why in caplog.text
    scheduler = read_scheduler(configs)
    assert scheduler.config.prediction_type == prediction
    assert bool(scheduler.config.get("rescale_betas_zero_snr")) == (mark == "ztsnr")
    side = json.loads((configs / "unet/config.json").read_text())["sample_size"]
    assert side == {"sd2": 64, "sd2 768": 96}.get(mark, 128)
    kinds = {"playground": "EDMDPMSolverMultistepScheduler", "cosxl": "EDMEulerScheduler", "sd2": "PNDMScheduler",
             "sd2 768": "PNDMScheduler"}  # fmt: skip
    assert type(scheduler).__name__ == kinds.get(mark, "EulerDiscreteScheduler")
    defaults = configs / "generation_defaults.json"
    assert defaults.is_file() == (mark == "turbo") and (mark != "turbo" or '"turbo"' in defaults.read_text())
    vae = json.loads((configs / "vae/config.json").read_text())
    assert ("latents_mean" in vae) == (mark == "playground")


@pytest.mark.parametrize(("parameterization", "prediction"), [("v", "v_prediction"), ("eps", "epsilon")])
def test_a_yaml_beside_the_file_says_what_an_sd2_predicts(parameterization, prediction, made, tmp_path):
    path = tiny.write(tmp_path / "two.safetensors", load_file(made("sd2")[1]))
    path.with_suffix(".yaml").write_text(f"model:\n  params:\n    parameterization: {parameterization!r}\n")
    assert SingleFile(path).schedule.prediction == prediction


def test_the_step_of_the_512_pixel_base_says_epsilon(made, tmp_path):
    torch.save({"global_step": 875000, "state_dict": load_file(made("sd2")[1])}, tmp_path / "512.ckpt")
    schedule = SingleFile(tmp_path / "512.ckpt").schedule
    assert (schedule.prediction, schedule.why) == ("epsilon", "by its global_step 875000")


def test_a_file_of_a_newer_layout_of_sd2_is_read(made, tokens, tmp_path):
    """SD-Turbo names its text encoder as SDXL does."""
    sgm = {name.replace("cond_stage_model.model.", "conditioner.embedders.0.model."): each
           for name, each in load_file(made("sd2")[1]).items()}  # fmt: skip
    path = tiny.write(tmp_path / "sd_turbo.safetensors", sgm)
    same(load_pipeline(path, device="cpu", tokenizer=tokens).pipe,
         load_pipeline(made("sd2")[1], device="cpu", tokenizer=tokens).pipe)  # fmt: skip


def without(tensors, *prefixes):
    return {name: each for name, each in tensors.items() if not name.startswith(prefixes)}


REFUSED = {
    "a UNet alone": (lambda all_: without(all_, "first", "cond"), "is the UNet of Stable Diffusion 1.5 alone and no "
                     "checkpoint that paints; give it as --unet"),
    "a VAE": (lambda all_: without(all_, "model", "cond"), "is a VAE and no checkpoint that paints; give it as --vae"),
    "a text encoder": (lambda all_: without(all_, "model", "first"), "is a CLIP text encoder and no checkpoint"),
    "LoRA": (lambda all_: {"lora_unet_down_blocks_0_attn.lora_down.weight": ONE}, r"is low-rank weights \(LoRA\) and "
             "no checkpoint that paints; give it as --lora"),
    "FLUX": (lambda all_: {"double_blocks.0.img_attn.norm.key_norm.scale": ONE}, "is a FLUX.1 transformer and no "
             "checkpoint that paints; give its diffusers folder, the whole pipeline, as --sdmodel_id"),
    "SD3": (lambda all_: {"model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight": ONE}, "is a Stable Diffusion "
            "3 transformer"),
    "Wan": (lambda all_: {"head.modulation": ONE}, "is a Wan video transformer"),
    "a ControlNet": (lambda all_: {"control_model.input_hint_block.0.weight": ONE}, "is a ControlNet .* as "
                     "--controlnet"),
    "InstructPix2Pix": (lambda all_: all_ | {f"{UNET}input_blocks.0.0.weight": torch.ones(32, 8, 3, 3)},
                        r"InstructPix2Pix\): its UNet takes 8 channels"),
    "no text encoder": (lambda all_: without(all_, "cond"), r"lacks the text encoder cond_stage_model\.transformer"),
    "no VAE": (lambda all_: without(all_, "first"), "brings no VAE; give one as --vae"),
    "nothing known": (lambda all_: {"x": ONE}, "is a file of tensors that are known from nowhere"),
    "a tensor less": (lambda all_: without(all_, f"{UNET}time_embed.0.bias"), "lacks 1 tensors, such as "
                      "time_embedding.linear_1.bias"),
    "a wrong shape": (lambda all_: all_ | {f"{UNET}out.0.weight": ONE},
                      r"conv_norm_out\.weight is \(1\) in the file and would be \(32\)"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_paint_alone_is_called_by_its_name(what, made, tokens, tmp_path):
    change, sentence = REFUSED[what]
    path = tiny.write(tmp_path / "given.safetensors", change(load_file(made("sd15")[1])))
    with pytest.raises(UserError, match=sentence):
        load_pipeline(path, device="cpu", tokenizer=tokens)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty; fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS .*git lfs pull"),
        (b"<!DOCTYPE html>", "is a web page and no file of weights; download the file itself"),
        (b"GGUF" + bytes(40), "is a GGUF file under the name of another kind"),
        (b"\x80\x02" + bytes(40), "is a PyTorch file under the name of another kind; let its name end with .ckpt"),
        (bytes(100), "is damaged or not whole; fetch it again"),
    ],
)
def test_what_is_no_file_of_weights_is_told(content, sentence, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        load_pipeline(tmp_path / "model.safetensors", device="cpu")


def test_half_a_download_is_told(made, tmp_path):
    content = made("sd15")[1].read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is damaged or not whole; fetch it again"):
        load_pipeline(tmp_path / "model.safetensors", device="cpu")


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_stage_2_starts_from_a_single_file_as_from_its_folder(tune, config, tmp_path):
    """Also with a VAE from elsewhere."""
    folder, file = Path(config.pipeline), tmp_path / "base.safetensors"
    to_file(folder, file)
    shutil.copytree(folder / "vae", tmp_path / "vae")
    one = replace(config, steps=1, warmup=1, tune=tune, vae=str(tmp_path / "vae"))
    whole = train(one)
    places = {"run": str(tmp_path / "run2"), "output": str(tmp_path / "out2")}
    single = train(replace(one, pipeline=str(file), tokenizer=str(folder), **places))
    for place in sorted(whole.rglob("*.safetensors")):
        ours, theirs = load_file(single / place.relative_to(whole)), load_file(place)
        assert ours.keys() == theirs.keys() and all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in theirs)
    if tune == "full":
        assert load_pipeline(single, device="cpu").steps == 3  # as the base's generation_defaults.json has it
    else:
        painter = load_pipeline(file, device="cpu", tokenizer=folder, loras=[str(single)])
        assert painter.added[0]["kind"] == "lora"


def test_a_single_file_is_taken_for_the_plan_and_refused_before_any_folder_is_made(config, tmp_path):
    file = tmp_path / "base.safetensors"
    to_file(Path(config.pipeline), file)
    given = replace(config, pipeline=str(file), tokenizer=config.pipeline)
    assert plan(given).flops == plan(config).flops
    with pytest.raises(UserError, match="brings no vocabulary for its 1000 tokens"):
        train(replace(given, tokenizer=None))
    assert not Path(config.run).exists()
