"""Offloading, its weights waiting nowhere (on `meta`) between the layers' turns, on a machine without a GPU."""

import pytest
import torch
from accelerate import cpu_offload
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from llmga.diffusers import adapters, guidance
from llmga.diffusers.adapters import add_loras, remove_loras, use_controlnet
from llmga.diffusers.memory import execution_device
from llmga.diffusers.pipelines import load_pipeline

PICTURE = Image.linear_gradient("L").convert("RGB").resize((64, 64))
MASK = Image.new("L", (64, 64))
MASK.paste(255, (10, 10, 40, 30))
CASES = [
    ("sd15", None, {}),
    ("sdxl", None, {}),
    ("sdxl_inpaint", None, {"image": PICTURE, "mask": MASK}),
    ("sdxl", "editing", {"image": PICTURE, "source_prompt": "a dog", "ratio": 1.0}),
    ("sd15", "editing", {"image": PICTURE, "source_prompt": "a dog", "mask": MASK}),
]


def offload(pipeline, device=None, kind="sequential"):
    """What `enable_sequential_cpu_offload` does, which refuses to work on a CPU."""
    pipeline.remove_all_hooks()
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)
    return pipeline


@pytest.mark.parametrize(("folder", "task", "given"), CASES)
def test_an_offloaded_painter_paints_the_same(goldens, folder, task, given):
    plain, offloaded = (load_pipeline(goldens.folder(folder), task=task, device="cpu") for _ in range(2))
    offload(offloaded.pipe)
    assert offloaded.denoiser.device.type == "meta" and execution_device(offloaded.denoiser).type == "cpu"
    both = [painter("a cat", seed=1, steps=3, **given).tobytes() for painter in (plain, offloaded)]
    assert both[0] == both[1]


def test_a_controlnet_is_offloaded_with_the_rest(goldens, tmp_path, monkeypatch):
    from diffusers import ControlNetModel

    plain, offloaded = (load_pipeline(goldens.folder("sd15"), device="cpu") for _ in range(2))
    ControlNetModel.from_unet(plain.denoiser).save_pretrained(tmp_path)
    use_controlnet(plain, tmp_path, PICTURE)
    offload(offloaded.pipe)
    offloaded.offload = "sequential"
    monkeypatch.setattr(guidance, "move_to", offload)
    use_controlnet(offloaded, tmp_path, PICTURE)
    assert offloaded("a cat", steps=2).tobytes() == plain("a cat", steps=2).tobytes()
    assert offloaded.guides.networks[0].model.device.type == "meta"


def test_low_rank_weights_are_offloaded_with_the_rest(goldens, tmp_path, monkeypatch):
    plain, offloaded = (load_pipeline(goldens.folder("sd15"), device="cpu") for _ in range(2))
    weight = plain.denoiser.conv_in.weight
    tensors = {"lora_unet_conv_in.lora_down.weight": torch.ones(2, *weight.shape[1:]),
               "lora_unet_conv_in.lora_up.weight": torch.ones(len(weight), 2, 1, 1)}  # fmt: skip
    save_file(tensors, tmp_path / "it.safetensors")
    before = plain("a cat", steps=2).tobytes()
    offload(offloaded.pipe)
    offloaded.offload = "sequential"
    monkeypatch.setattr(adapters, "move_to", offload)
    for painter in (plain, offloaded):
        add_loras(painter, [f"{tmp_path / 'it.safetensors'}:0.5"])
    assert offloaded.denoiser.device.type == "meta"
    assert offloaded("a cat", steps=2).tobytes() == plain("a cat", steps=2).tobytes() != before
    remove_loras(offloaded)
    assert offloaded.denoiser.device.type == "meta"
    assert offloaded("a cat", steps=2).tobytes() == before
    magnitude = {"lora_unet_conv_in.dora_scale": torch.ones(len(weight), 1, 1, 1)}
    save_file(tensors | magnitude, tmp_path / "decomposed.safetensors")
    remove_loras(plain)
    for painter in (plain, offloaded):
        add_loras(painter, [str(tmp_path / "decomposed.safetensors")])
    assert offloaded("a cat", steps=2).tobytes() == plain("a cat", steps=2).tobytes() != before
