"""What people reported of adapters in public threads, under the very names of their files."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llmga.diffusers.adapters import add_embeddings, add_loras, remove_loras
from llmga.diffusers.pipelines import load_pipeline

TOY = "checkpoints/Inference/llmga-toy-sdxl-t2i"


@pytest.fixture(scope="module")
def toy():
    """The bundled painter: its blocks are numbered as SDXL's."""
    return load_pipeline(TOY, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def old(goldens):
    return load_pipeline(goldens.folder("sd15"), device="cpu", dtype="fp32")


def ending(part, name):
    return next(layer for path, layer in part.named_modules() if path.endswith(name))


def chance(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def changed(pipeline, tensors, path, layer):
    """The layer's weight while the file is loaded, and how it was."""
    before = layer.weight.detach().clone()
    save_file(tensors, path)
    add_loras(pipeline, [str(path)])
    after = layer.weight.detach().clone()
    remove_loras(pipeline)
    assert torch.equal(layer.weight, before)
    return before, after


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("input_blocks_4_1_transformer_blocks_0_attn2_to_q",
         "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"),
        ("input_blocks_5_0_emb_layers_1", "down_blocks.1.resnets.1.time_emb_proj"),
    ],
)  # fmt: skip
def test_lora_key_not_loaded_dora_scale(toy, tmp_path, name, own):
    """Comfy-Org/ComfyUI#3060: after LyCORIS 2.2.0, "lora key not loaded …dora_scale", and the picture is another one.

    huggingface/diffusers#7366: "error using load_lora_weights with dora", of the same files.
    """
    layer = ending(toy.pipe.unet, own)
    out, into = layer.weight.shape
    down, up, scale = chance(2, into), chance(out, 2), chance(out, 1).abs() + 1
    key = f"lora_unet_{name}"
    tensors = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.0),
               f"{key}.dora_scale": scale}  # fmt: skip
    before, after = changed(toy, tensors, tmp_path / "it.safetensors", layer)
    whole = before + up @ down / 2
    assert torch.allclose(after, scale * whole / whole.norm(dim=1, keepdim=True), atol=1e-5)


def test_lora_key_not_loaded_lokr_of_the_second_text_encoder(toy, tmp_path):
    """Comfy-Org/ComfyUI#1144: "lora key not loaded lora_te2_text_model_encoder_layers_…_self_attn_out_proj.lokr_w1"."""
    layer = ending(toy.pipe.text_encoder_2, "layers.1.self_attn.out_proj")
    out, into = layer.weight.shape
    w1, w2 = chance(4, 4), chance(out // 4, into // 4)
    key = "lora_te2_text_model_encoder_layers_1_self_attn_out_proj"
    tensors = {f"{key}.lokr_w1": w1, f"{key}.lokr_w2": w2, f"{key}.alpha": torch.tensor(1e10)}
    before, after = changed(toy, tensors, tmp_path / "it.safetensors", layer)
    assert torch.allclose(after - before, torch.kron(w1, w2), atol=1e-5)  # alpha means nothing with both whole


def test_lora_key_not_loaded_on_input(old, tmp_path):
    """Comfy-Org/ComfyUI#6397: "lora key not loaded: lora_te_text_model_encoder_layers_0_mlp_fc2.on_input" and
    ".weight"."""
    layer = ending(old.pipe.text_encoder, "layers.0.mlp.fc2")
    factors = chance(layer.weight.shape[1])
    key = "lora_te_text_model_encoder_layers_0_mlp_fc2"
    tensors = {f"{key}.weight": factors, f"{key}.on_input": torch.tensor(1)}
    before, after = changed(old, tensors, tmp_path / "it.safetensors", layer)
    assert torch.allclose(after, before * (1 + factors), atol=1e-6)


def test_label_emb_is_not_supported(toy, tmp_path):
    """huggingface/diffusers#11224: "`lora_unet_label_emb_0_0.alpha` not supported" of an SDXL file."""
    layer = ending(toy.pipe.unet, "add_embedding.linear_1")
    out, into = layer.weight.shape
    key = "lora_unet_label_emb_0_0"
    save_file({f"{key}.lora_down.weight": chance(2, into), f"{key}.lora_up.weight": chance(out, 2),
               f"{key}.alpha": torch.tensor(2.0)}, tmp_path / "it.safetensors")  # fmt: skip
    plain = np.asarray(toy("a red circle", seed=1, steps=1))
    add_loras(toy, [str(tmp_path / "it.safetensors")])
    painted = np.asarray(toy("a red circle", seed=1, steps=1))
    remove_loras(toy)
    assert not np.array_equal(plain, painted)


def test_no_lora_keys_associated_to_cliptextmodel(old, tmp_path, caplog):
    """logn-2024/Any2anyTryon#14: a file for the UNet alone is warned of as if its text encoder's keys were lost."""
    key = "lora_unet_mid_block_attentions_0_proj_in"
    save_file({f"{key}.lora_down.weight": chance(2, 32, 1, 1), f"{key}.lora_up.weight": chance(32, 2, 1, 1)},
              tmp_path / "it.safetensors")  # fmt: skip
    with caplog.at_level(logging.WARNING):
        add_loras(old, [str(tmp_path / "it.safetensors")])
    remove_loras(old)
    assert "CLIPTextModel" not in caplog.text


def test_loaded_state_dictionary_is_incorrect_for_a_textual_inversion_of_sdxl(tmp_path):
    """huggingface/diffusers#5327 and #8854: `load_textual_inversion` of a negative embedding with `clip_l` and `clip_g`
    fails with "Loaded state dictionary is incorrect", or leaves the second text encoder without the word."""
    pipeline = load_pipeline(TOY, device="cpu", dtype="fp32")
    widths = [getattr(pipeline.pipe, part).config.hidden_size for part in ("text_encoder", "text_encoder_2")]
    save_file({"clip_l": chance(3, widths[0]), "clip_g": chance(3, widths[1])},
              tmp_path / "unaestheticXL_Jug6.safetensors")  # fmt: skip
    paint = lambda negative: np.asarray(pipeline("a red circle", negative_prompt=negative, seed=1, steps=2))  # noqa: E731
    plain, unknown = paint(""), paint("unaestheticXL_Jug6")
    add_embeddings(pipeline, [str(tmp_path / "unaestheticXL_Jug6.safetensors")])
    assert np.array_equal(paint(""), plain) and not np.array_equal(paint("unaestheticXL_Jug6"), unknown)
    for tokenizer in (pipeline.pipe.tokenizer, pipeline.pipe.tokenizer_2):
        assert tokenizer.convert_tokens_to_ids("unaestheticXL_Jug6_2") != tokenizer.unk_token_id
