"""What people reported of checkpoints in one file in public threads."""

import socket

import pytest
import torch

from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.single_file import vocabulary
from llmga.errors import UserError
from tests.diffusers import tiny_files as tiny


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tiny SD1.5 that knows the published vocabulary."""
    models = tiny.parts("sd15", rows=49408)
    return tiny.write(tmp_path_factory.mktemp("thread") / "juggernaut.safetensors", tiny.ldm("sd15", models))


def test_offline_it_does_not_ask_to_save_the_text_encoder_and_tokenizer_locally_first(published, offline):
    """diffusers#7716, #5390: "you must first locally save the text_encoder and tokenizer"."""
    painter = load_pipeline(published, device="cpu")
    assert len(painter.pipe.tokenizer) == 49408
    assert painter("a photograph of an astronaut riding a horse", size=(32, 32), steps=1).size == (32, 32)


def test_where_the_tokenizer_can_be_put_is_said(published, offline, monkeypatch):
    """stable-diffusion#90: "Can't load tokenizer for 'openai/clip-vit-large-patch14'", "where to put it"."""
    monkeypatch.setattr(vocabulary, "PACKAGES", ())
    with pytest.raises(UserError, match=r"give --tokenizer FOLDER with vocab.json and merges.txt, or run pip install"):
        load_pipeline(published, device="cpu")


def test_an_lcm_unet_of_sd15_in_one_file_of_diffusers_opens(goldens, tmp_path):
    """diffusers#11033: "SD1.5 Unet from_single_file loading does not work"."""
    from diffusers import UNet2DConditionModel

    tiny.pipeline("sd15", 4, tiny.parts("sd15"), goldens.folder("sd15") / "tokenizer").save_pretrained(
        tmp_path / "base"
    )
    config = UNet2DConditionModel.load_config(tmp_path / "base/unet")
    lcm = UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": 32})
    path = tiny.write(tmp_path / "diffusion_pytorch_model.safetensors", lcm.state_dict())
    unet = load_pipeline(tmp_path / "base", device="cpu", unet=path, sampler="lcm").pipe.unet
    assert torch.equal(unet.time_embedding.cond_proj.weight, lcm.time_embedding.cond_proj.weight)


def test_a_whole_lightning_checkpoint_is_no_unet_of_diffusers_but_opens_as_a_painter(goldens, tmp_path):
    """ComfyUI-DiffusersImageOutpaint#27: "Missing key(s) in state_dict: conv_in.weight" of RealVisXL Lightning."""
    path = tiny.write(tmp_path / "RealVisXL_V5.0_Lightning_fp16.safetensors", tiny.ldm("sdxl", tiny.parts("sdxl")),
                      {"modelspec.title": "RealVisXL V5.0 Lightning"})  # fmt: skip
    painter = load_pipeline(path, device="cpu", tokenizer=goldens.folder("sd15"))
    assert (painter.sampler_name, painter.steps, painter.guidance_scale) == ("lightning", 4, 1.0)
