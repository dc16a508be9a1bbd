"""A UNet or a VAE from elsewhere takes the place of a checkpoint's own, in any layout and number of files."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from llmga.diffusers.assembly import assemble
from llmga.diffusers.families import INPAINTING
from llmga.diffusers.parts import part_source
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError
from tests.diffusers import tiny_files as tiny


@pytest.fixture(scope="module")
def base(goldens, tmp_path_factory):
    """A folder of a tiny SDXL, and other models for it."""
    folder, models = tmp_path_factory.mktemp("base"), tiny.parts("sdxl")
    tiny.pipeline("sdxl", 4, models, goldens.folder("sd15") / "tokenizer").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def other():
    return tiny.parts("sdxl", seed=7)


def opened(base, **parts):
    return load_pipeline(base, device="cpu", dtype="fp32", **parts).pipe


def equal(model, expected, dtype=torch.float32):
    found, expected = model.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name].to(dtype).float()) for name in found)


def old_attention(tensors):
    """As diffusers named it until 0.13, and as convolutions."""
    found = {}
    for name, each in tensors.items():
        if "attentions" in name:
            for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
                name = name.replace(f".{new}.", f".{old}.")
            each = each[:, :, None, None] if each.ndim == 2 else each
        found[name] = each
    return found


def one_file(tensors, place):
    save_file({name: each.contiguous() for name, each in tensors.items()}, place)
    return place


VAE_FORMS = {
    "authors'": lambda model, root: one_file(tiny.vae_names(model), root / "vae.safetensors"),
    "authors', with the prefix of a whole file": lambda model, root: one_file(
        {f"first_stage_model.{name}": each for name, each in tiny.vae_names(model).items()}, root / "vae.safetensors"
    ),
    "authors', with a discriminator beside it": lambda model, root: one_file(
        tiny.vae_names(model) | {"loss.discriminator.main.0.weight": torch.ones(3)}, root / "vae.safetensors"
    ),
    "diffusers'": lambda model, root: one_file(model.state_dict(), root / "vae.safetensors"),
    "diffusers' of old": lambda model, root: one_file(old_attention(model.state_dict()), root / "vae.safetensors"),
    "folder": lambda model, root: model.save_pretrained(root) or root,
    "folder in shards": lambda model, root: model.save_pretrained(root, max_shard_size=100_000) or root,
    "folder of one file alone": lambda model, root: one_file(model.state_dict(), root / "any.safetensors").parent,
    "folder of a pipeline": lambda model, root: model.save_pretrained(root / "vae") or root,
}  # fmt: skip


@pytest.mark.parametrize("form", VAE_FORMS)
def test_a_vae_of_any_form_takes_the_place(form, base, other, tmp_path):
    pipe = opened(base, vae=VAE_FORMS[form](other["vae"], tmp_path))
    equal(pipe.vae, other["vae"])
    assert pipe.vae.config.scaling_factor == 0.13025


@pytest.mark.parametrize(("variant", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("shards", [False, True])
def test_a_folder_in_a_variant_takes_the_place(variant, dtype, shards, base, other, tmp_path):
    halved = AutoencoderKL.from_config(other["vae"].config)
    halved.load_state_dict(other["vae"].state_dict())
    halved.to(dtype).save_pretrained(tmp_path, variant=variant, max_shard_size=50_000 if shards else "5GB")
    assert (len(list(tmp_path.glob("*-of-*"))) > 1) == shards
    equal(opened(base, vae=tmp_path).vae, other["vae"], dtype)


def test_a_ckpt_of_a_vae_takes_the_place(base, other, tmp_path):
    torch.save({"state_dict": tiny.vae_names(other["vae"]), "global_step": 840000}, tmp_path / "vae.ckpt")
    equal(opened(base, vae=tmp_path / "vae.ckpt").vae, other["vae"])


UNET_FORMS = {
    "diffusers', as Lightning": lambda model: model.state_dict(),
    "authors', bare": lambda model: tiny.unet_names(model),
    "authors', as for ComfyUI": lambda model: {f"model.diffusion_model.{name}": each
                                               for name, each in tiny.unet_names(model).items()},
}  # fmt: skip


@pytest.mark.parametrize("form", UNET_FORMS)
def test_a_distilled_unet_takes_the_place(form, base, other, tmp_path):
    path = one_file(UNET_FORMS[form](other["unet"]), tmp_path / "sdxl_lightning_4step_unet.safetensors")
    pipe = opened(base, unet=path, sampler="lightning")
    equal(pipe.unet, other["unet"])
    own = UNet2DConditionModel.from_pretrained(base / "unet").config
    assert all(pipe.unet.config[name] == own[name] for name in own if not name.startswith("_"))


def test_the_unet_of_a_latent_consistency_model_is_told_its_guidance(base, tmp_path):
    torch.manual_seed(1)
    config = {**UNet2DConditionModel.load_config(base / "unet"), "time_cond_proj_dim": 16}
    lcm = UNet2DConditionModel.from_config(config)
    path = one_file(lcm.state_dict(), tmp_path / "lcm.safetensors")
    pipeline = load_pipeline(base, device="cpu", unet=path, sampler="lcm")
    equal(pipeline.pipe.unet, lcm)
    assert pipeline("a red ball", size=(32, 32), seed=1).size == (32, 32)


def test_a_unet_of_nine_channels_fills_marked_parts(base, tmp_path):
    unet = tiny.unet("sdxl", 9)
    path = one_file(unet.state_dict(), tmp_path / "inpainting_unet.safetensors")
    pipeline = load_pipeline(base, device="cpu", unet=path)
    assert pipeline.family.task == INPAINTING and pipeline.pipe.unet.config.in_channels == 9


def test_parts_go_with_a_single_file_too_also_where_it_brings_none(base, other, goldens, tmp_path):
    tensors = tiny.ldm("sdxl", tiny.parts("sdxl"))
    kept = {name: each for name, each in tensors.items() if not name.startswith("first_stage_model.")}
    path, tokens = one_file(kept, tmp_path / "pruned.safetensors"), goldens.folder("sd15") / "tokenizer"
    vae = one_file(tiny.vae_names(other["vae"]), tmp_path / "vae.safetensors")
    unet = one_file(other["unet"].state_dict(), tmp_path / "unet.safetensors")
    pipe = opened(path, vae=vae, unet=unet, tokenizer=tokens)
    equal(pipe.vae, other["vae"])
    equal(pipe.unet, other["unet"])
    assert pipe.vae.config.scaling_factor == 0.13025


def test_a_whole_checkpoint_may_lend_its_part(base, other, tmp_path):
    path = one_file(tiny.ldm("sdxl", other), tmp_path / "whole.safetensors")
    pipe = opened(base, vae=path, unet=path)
    equal(pipe.vae, other["vae"])
    equal(pipe.unet, other["unet"])


def flat(sizes):
    return {name: torch.ones(size) for name, size in sizes.items()}


WRONG = {
    "a VAE as UNet": ("unet", lambda models: models["vae"].state_dict(), "is a VAE and no UNet; give it as --vae"),
    "a UNet as VAE": ("vae", lambda models: models["unet"].state_dict(), "is the UNet of SDXL alone and no VAE"),
    "LoRA": ("unet", lambda models: flat({"lora_unet_x.lora_up.weight": 3}), "is low-rank weights .* as --lora"),
    "another family": ("unet", lambda models: tiny.unet("sd15", 4).state_dict(), "they are of different families"),
    "video VAE": ("vae", lambda models: flat({"decoder.conv1.weight": (4, 4, 1, 1, 1)}), "is a VAE of a video model; "
                  "it is not read here"),
    "previews": ("vae", lambda models: flat({"decoder.layers.3.conv.0.weight": 3}), "a tiny VAE for previews"),
    "FLUX's VAE": ("vae", lambda models: AutoencoderKL(latent_channels=16).state_dict(), "latent_channels of 16"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_such_part_is_called_by_its_name(what, base, other, tmp_path):
    part, tensors, sentence = WRONG[what]
    path = one_file(tensors(other), tmp_path / "given.safetensors")
    with pytest.raises(UserError, match=sentence):
        opened(base, **{part: path})


def test_what_is_not_there_is_told(base, tmp_path):
    own = json.loads((base / "vae/config.json").read_text())
    (tmp_path / "empty").mkdir()
    (tmp_path / "vae.txt").write_text("words")
    for given, sentence in (
        ("no-such-vae", "'no-such-vae' is not there; give a file of a VAE"),
        ("someone/no-vae", "fetch it first: llmga download someone/no-vae"),
        (tmp_path / "empty", "has no config.json and holds no file of weights"),
        (tmp_path / "vae.txt", "is no file of weights"),
        (base / "unet", "is a UNet2DConditionModel and no AutoencoderKL"),
    ):
        with pytest.raises(UserError, match=sentence):
            part_source("vae", given, own)


def test_a_pipeline_without_a_unet_takes_none(base, tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(UserError, match="has no unet, whose place another could take; leave out --unet"):
        assemble(tmp_path, unet=base)


def test_a_folder_that_lacks_the_part_itself_is_told(base, other, tmp_path):
    (tmp_path / "config.json").write_text((base / "vae/config.json").read_text())
    with pytest.raises(UserError, match=r"lacks diffusion_pytorch_model\.safetensors"):
        opened(base, vae=tmp_path)


def test_weights_that_lack_in_a_file_are_never_made_up(base, other, tmp_path):
    path = one_file(tiny.vae_names(other["vae"]), tmp_path / "vae.safetensors")
    tensors = load_file(path)
    del tensors["decoder.conv_out.bias"]
    with pytest.raises(UserError, match=r"AutoencoderKL lacks 1 tensors, such as decoder\.conv_out\.bias"):
        opened(base, vae=one_file(tensors, tmp_path / "less.safetensors"))


@pytest.mark.parametrize("part", ["vae", "unet"])
def test_a_part_takes_the_place_of_one_that_is_not_there(part, base, other, tmp_path):
    folder = shutil.copytree(base, tmp_path / "base")
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=f"lacks the folder {part}/, .* copy the whole .*, or give one as --{part}"):
        opened(folder)
    names = {"vae": tiny.vae_names, "unet": tiny.unet_names}[part]
    other[part].save_pretrained(tmp_path / "given")
    for place in (tmp_path / "given", one_file(names(other[part]), tmp_path / "given.safetensors")):
        pipe = opened(folder, **{part: place})
        equal(getattr(pipe, part), other[part])
        assert pipe.vae.config.scaling_factor == 0.13025 or place.is_dir()


def test_a_gguf_file_and_a_mistyped_file_are_told_as_what_they_are(base, tmp_path):
    (tmp_path / "unet.gguf").write_bytes(b"GGUF")
    for words in ({"path": tmp_path / "unet.gguf"}, {"path": base, "unet": tmp_path / "unet.gguf"}):
        with pytest.raises(UserError, match="is a GGUF file.*; give it as --painter-quant beside an --sdmodel_id"):
            load_pipeline(words.pop("path"), device="cpu", **words)
    with pytest.raises(UserError, match=r"^the file 'x/nometa.safetensors' is not there[;,] .*check the path"):
        load_pipeline("x/nometa.safetensors", device="cpu")
    with pytest.raises(UserError, match=r"^--unet 'x/nometa.safetensors' is not there[;,] .* or that of a pipeline\.$"):
        load_pipeline(base, device="cpu", unet="x/nometa.safetensors")
    with pytest.raises(UserError, match=r"that of a pipeline; or fetch it first: llmga download some/body\.$"):
        load_pipeline(base, device="cpu", unet="some/body")


def test_a_vae_of_other_widths_is_told_without_torchs_words(base, tmp_path):
    own = AutoencoderKL.load_config(base / "vae")
    wide = {**own, "block_out_channels": [2 * width for width in own["block_out_channels"]]}
    path = one_file(AutoencoderKL.from_config(wide).state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match=r"does not fit its settings \(\S+ is \(.*\) in the file and would be") as told:
        opened(base, vae=path)
    assert "torch.Size" not in str(told.value) and "give its diffusers folder" in str(told.value)
