"""What is loaded once: the inpainter beside a painter from words; and what is no model is told in a sentence."""

import logging
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from safetensors.torch import save_file
from transformers.utils import logging as transformers_logging

import llmga
from llmga import runtime
from llmga.assistant.events import PictureReady
from llmga.assistant.loading import BUNDLED_INPAINTER, BUNDLED_PIPELINE, Models, bundled
from llmga.assistant.session import Turn
from llmga.diffusers.adapters import add_controlnet, share_controlnets
from llmga.diffusers.control import Control
from llmga.diffusers.families import INPAINTING
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.single_file.writing import to_file
from llmga.errors import UserError
from llmga.files import fingerprint
from llmga.model_directories import ROOTS
from llmga.serve.args import build_parser
from llmga.serve.parsed_args import model_spec, settings
from llmga.serve.reproduction import open_painter, open_postprocessing, replayed

INPUT, INSIDE = "conv_in", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def opened_with(path, painter, layer):
    """The bundled painter and inpainter, with low-rank weights that were made for a layer of the painter's UNet."""
    shape = painter.denoiser.get_submodule(layer).weight.shape
    halves = torch.ones(2, *shape[1:]), torch.ones(shape[0], 2, *(1 for _ in shape[2:]))
    save_file(dict(zip((f"unet.{layer}.lora_{end}.weight" for end in "AB"), halves, strict=True)), path)
    args = build_parser("cli", "a test").parse_args(["--lora", f"{path}:0.5"])
    generator = Models.load(model_spec(args).checked()).pipeline
    return generator, generator.dedicated[INPAINTING]


def test_marked_parts_are_painted_with_the_low_rank_weights_too_or_it_is_told(tmp_path, caplog):
    args = build_parser("cli", "a test").parse_args([])
    plain = Models.load(model_spec(args).checked()).pipeline
    assert plain.added == plain.dedicated[INPAINTING].added == []

    painter, inpainter = opened_with(tmp_path / "inside.safetensors", plain, INSIDE)
    assert painter.added == inpainter.added
    assert [(each["kind"], each["weight"]) for each in inpainter.added] == [("lora", 0.5)]
    assert inpainter.denoiser.get_submodule(INSIDE).lora_A
    assert "marked parts" not in caplog.text

    with caplog.at_level(logging.WARNING):  # an inpainter's UNet takes more channels there
        painter, inpainter = opened_with(tmp_path / "input.safetensors", plain, INPUT)
    assert len(painter.added) == 1 and inpainter.added == []
    assert "marked parts are painted without low-rank weights" in caplog.text and "input.safetensors" in caplog.text


def test_a_single_file_with_a_vae_from_elsewhere_paints_is_recorded_and_replayed(tmp_path):
    folder, file = bundled(BUNDLED_PIPELINE, "--sdmodel_id"), tmp_path / "toy.safetensors"
    to_file(folder, file)
    vae = tmp_path / "vae.safetensors"
    vae.write_bytes((folder / "vae/diffusion_pytorch_model.safetensors").read_bytes())
    words = ["--sdmodel_id", str(file), "--vae", str(vae), "--tokenizer", str(folder), "--steps", "2"]
    args = build_parser("cli", "a test").parse_args([*words, "--picture", "always"])
    assistant = Models.load(model_spec(args).checked()).assistant(settings(args))
    ready = next(each for each in assistant.stream(Turn("a red circle")) if isinstance(each, PictureReady))
    marks = {mark.role: (mark.name, mark.sha256) for mark in ready.record.models}
    assert marks["painter"] == ("toy.safetensors", fingerprint(file)) and marks["vae"][1] == fingerprint(vae)

    parts = {"vae": str(vae), "tokenizer": str(folder)}
    painter = open_painter(ready.record, str(file), None, (), (), parts)
    again = replayed(ready.record, painter, open_postprocessing(ready.record, None, None, None), None)
    assert again.tobytes() == ready.image.tobytes()
    for other, sentence in (
        ({**parts, "vae": str(folder)}, "has other weights .* give those with --vae"),
        ({**parts, "unet": str(folder)}, "painted with the painter's own unet; leave out --unet"),
    ):
        with pytest.raises(UserError, match=sentence):
            open_painter(ready.record, str(file), None, (), (), other)


def test_marked_parts_are_guided_by_the_same_networks(tmp_path):
    painter = load_pipeline(bundled(BUNDLED_PIPELINE, "it"), device="cpu")
    net = ControlNetModel.from_unet(painter.denoiser, conditioning_embedding_out_channels=(16, 32, 96))
    torch.nn.init.normal_(net.controlnet_mid_block.weight)
    torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight)
    net.save_pretrained(tmp_path / "net")
    add_controlnet(painter, tmp_path / "net", "tile")
    inpainter = load_pipeline(bundled(BUNDLED_INPAINTER, "it"), task=INPAINTING, device="cpu")
    share_controlnets(inpainter, painter.guides)
    assert inpainter.guides.networks[0].model is painter.guides.networks[0].model
    picture = Image.linear_gradient("L").convert("RGB").resize((64, 64))
    mask = Image.new("L", picture.size)
    mask.paste(255, (10, 10, 40, 30))
    without, none, guided = (
        inpainter("a cat", picture, mask, seed=1, steps=2, controls=controls).tobytes()
        for controls in ((), [Control("tile", 0.0)], [Control("tile")])
    )
    assert without == none != guided
    assert inpainter.describe(controls=[Control("tile", 0.5)])["added"][0]["kind"] == "controlnet"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mllm": "llmga-toy-mlm"}, "did you mean 'llmga-toy-mllm'"),
        ({"mllm": "llmga-toy-sdxl-t2i"}, "is a diffusion model, not a language model; give it as pipeline"),
        ({"mllm": ""}, "'' names no model"),
        ({"mllm": 5}, "5 names no model"),
        ({"mllm": "x" * 5000}, "names no model"),
        ({"device": None}, "unknown device None"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"max_memory": "x"}, "max_memory 'x' is not understood"),
        ({"max_memory": 5}, "max_memory 5 is no table of caps"),
        ({"num_gpus": "2"}, "num_gpus '2' is no whole number"),
        ({"load_8bit": True, "load_4bit": True}, "load_8bit and load_4bit exclude each other"),
        ({"upscale": 1}, "upscale 1 is not possible; use 2 or 4"),
        ({"restorer": ["match"]}, "unknown restorer"),
        ({"restorer": "diffrir-x2", "upscale": 4}, "restorer diffrir-x2 and upscale 4 disagree"),
        ({"inpainter": "x", "task": "inpainting"}, "inpainter goes with a painter from words; .* as pipeline"),
    ],
)
def test_what_cannot_be_loaded_is_told_by_the_name_of_the_argument(options, message):
    with pytest.raises(UserError, match=message) as told:
        llmga.load(**options)
    assert "--" not in str(told.value).replace("--list", "")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "None names no model"),
        ("", "'' names no model"),
        ("no-such", "or owner/name of the hub"),
        ("llmga-toy-sdxl-t2", "did you mean 'llmga-toy-sdxl-t2i'"),
        ("llmga-toy-mllm", "is no diffusion model"),
    ],
)
def test_a_pipeline_that_is_not_there_is_told_with_what_could_be(path, message):
    with pytest.raises(UserError, match=message):
        llmga.load_pipeline(path)


def test_models_are_found_from_any_folder_by_name_path_and_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("mine").symlink_to(ROOTS[-1] / "checkpoints/Inference/llmga-toy-mllm")
    for path in ("llmga-toy-mllm", "checkpoints/Inference/llmga-toy-mllm", "~/mine"):
        assert llmga.load_mllm(path, device="cpu").conv_mode
    assert llmga.load_restorer("diffrir-x1", device="cpu").scale == 1
    with pytest.raises(UserError, match="unknown restorer ''"):
        llmga.load_restorer("")


def test_one_file_of_low_rank_weights_may_be_a_text():
    with pytest.raises(UserError, match="'x.safetensors' are not there"):
        llmga.load_pipeline("llmga-toy-sdxl-t2i", device="cpu", loras="x.safetensors")


def test_loading_is_quiet_and_leaves_the_libraries_as_they_were(capfd):
    libraries = transformers_logging, diffusers_logging
    before = [(each.get_verbosity(), each.is_progress_bar_enabled()) for each in libraries]
    llmga.load(device="cpu")
    assert [(each.get_verbosity(), each.is_progress_bar_enabled()) for each in libraries] == before
    assert capfd.readouterr() == ("", "")


def restorer_on(name, device):
    return llmga.load_restorer("diffrir-x1", device=device)


@pytest.mark.parametrize("load", [llmga.load, llmga.load_pipeline, restorer_on])
def test_a_device_that_is_not_there_is_told_by_the_name_of_the_argument(load, monkeypatch):
    monkeypatch.setattr(runtime, "_has_mps", lambda: False)
    with pytest.raises(UserError, match="use device cpu or auto"):
        load("llmga-toy-sdxl-t2i", device="mps")
