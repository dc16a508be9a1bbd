"""What a file is, is told by its head alone: models as the libraries name them, files as their authors do."""

import json
import struct
import subprocess
import sys

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import save_file

from llmga.diffusers.file_kinds import read_header, recognise
from llmga.errors import UserError
from tests.diffusers import tiny_files as tiny

ONE = {"num_layers": 1}
TWO = {"num_layers": 1, "num_single_layers": 1}
CODES = {
    "encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8), "encoder_layers_per_block": (1, 1),
    "decoder_layers_per_block": (1, 1), "encoder_block_types": "ResBlock", "decoder_block_types": "ResBlock",
    "encoder_qkv_multiscales": ((), ()), "decoder_qkv_multiscales": ((), ()),
}  # fmt: skip
OF_DIFFUSERS = {
    "FluxTransformer2DModel": (TWO, "transformer", "flux", "a FLUX.1 transformer"),
    "Flux2Transformer2DModel": (TWO, "transformer", "flux2", "a FLUX.2 transformer"),
    "SD3Transformer2DModel": (ONE, "transformer", "sd3", "a Stable Diffusion 3 transformer"),
    "ChromaTransformer2DModel": (TWO, "transformer", "chroma", "a Chroma transformer"),
    "QwenImageTransformer2DModel": (ONE, "transformer", "qwen-image", "a Qwen-Image transformer"),
    "ZImageTransformer2DModel": ({"n_layers": 1, "n_refiner_layers": 1}, "transformer", "z-image",
                                 "a Z-Image transformer"),
    "Lumina2Transformer2DModel": (ONE, "transformer", "lumina2", "a Lumina 2 transformer"),
    "AuraFlowTransformer2DModel": ({"num_mmdit_layers": 1, "num_single_dit_layers": 1}, "transformer", "auraflow",
                                   "an AuraFlow transformer"),
    "PixArtTransformer2DModel": (ONE, "transformer", "pixart", "a PixArt transformer"),
    "SanaTransformer2DModel": (ONE, "transformer", "sana", "a Sana transformer"),
    "WanTransformer3DModel": (ONE, "transformer", "wan", "a Wan video transformer"),
    "LTXVideoTransformer3DModel": (ONE, "transformer", "ltx-video", "an LTX video transformer"),
    "HunyuanVideoTransformer3DModel": (TWO, "transformer", "hunyuan-video", "a HunyuanVideo transformer"),
    "MochiTransformer3DModel": (ONE, "transformer", "mochi", "a Mochi video transformer"),
    "CogVideoXTransformer3DModel": (ONE, "transformer", "cogvideox", "a CogVideoX transformer"),
    "ControlNetModel": ({}, "controlnet", None, "a ControlNet"),
    "T2IAdapter": ({}, "adapter", None, "a T2I-Adapter"),
    "MotionAdapter": ({}, "adapter", None, "a motion module of AnimateDiff"),
    "AutoencoderKL": ({}, "vae", None, "a VAE"),
    "AutoencoderTiny": ({}, "vae", None, "a tiny VAE for previews"),
    "AutoencoderKLWan": ({}, "vae", None, "a VAE of a video model"),
    "AutoencoderDC": (CODES, "vae", None, "a VAE of a family of its own"),
    "VQModel": ({}, "vae", None, "a VAE of codes (VQ)"),
}  # fmt: skip
SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
OF_TRANSFORMERS = {
    "CLIPTextModel": (SMALL, "text-encoder", "clip", "a CLIP text encoder"),
    "CLIPTextModelWithProjection": (SMALL, "text-encoder", "clip", "a CLIP text encoder"),
    "CLIPVisionModel": (SMALL, "vision-tower", None, "a vision tower"),
    "T5EncoderModel": ({"d_model": 32, "num_layers": 1}, "text-encoder", "t5", "a T5 text encoder"),
    "LlamaForCausalLM": (SMALL, "language-model", None, "a language model"),
    "GPT2LMHeadModel": ({"n_layer": 1, "n_embd": 48}, "language-model", None, "a language model"),
}


def shapes_of(library, name, settings):
    kind = getattr(library, name)
    with torch.device("meta"):
        made = kind(**settings) if library is diffusers else kind(kind.config_class(**settings))
    return {name: tuple(each.shape) for name, each in made.state_dict().items()}


@pytest.mark.parametrize("name", OF_DIFFUSERS | OF_TRANSFORMERS)
def test_a_model_as_its_library_saves_it_is_recognised(name):
    library = diffusers if name in OF_DIFFUSERS else transformers
    settings, *expected = (OF_DIFFUSERS | OF_TRANSFORMERS)[name]
    kind = recognise(shapes_of(library, name, settings), {})
    assert [kind.name, kind.family, kind.said] == expected


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_the_forms_of_a_family_are_told_apart(family):
    models = tiny.parts(family)
    whole = {name: tuple(each.shape) for name, each in tiny.ldm(family, models).items()}
    alone = {name: shape for name, shape in whole.items() if name.startswith("model.")}
    bare = {name.removeprefix("model.diffusion_model."): shape for name, shape in alone.items()}
    own = {name: tuple(each.shape) for name, each in models["unet"].state_dict().items()}
    found = [recognise(shapes, {}) for shapes in (whole, alone, bare, own)]
    assert [kind.name for kind in found] == ["checkpoint", "unet", "unet", "unet"]
    assert [kind.layout for kind in found] == ["ldm", "ldm", "ldm", "diffusers"]
    assert {kind.family for kind in found} == {family} and {kind.channels for kind in found} == {4}
    for channels, said in ((9, "for inpainting"), (8, "InstructPix2Pix"), (5, "sees depth")):
        widened = whole | {"model.diffusion_model.input_blocks.0.0.weight": (32, channels, 3, 3)}
        assert said in recognise(widened, {}).said


DOWN = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
OF_AUTHORS = {
    "kohya's LoRA of SD1.5": ({f"{DOWN}.lora_down.weight": (4, 768)}, "lora", "sd15", "low-rank weights (LoRA)"),
    "kohya's LoRA of SD2": ({f"{DOWN}.lora_down.weight": (4, 1024)}, "lora", "sd2", "low-rank weights (LoRA)"),
    "kohya's LoRA of SDXL": ({f"{DOWN}.lora_down.weight": (4, 2048)}, "lora", "sdxl", "low-rank weights (LoRA)"),
    "peft's LoRA of SDXL": ({"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (4, 2048)},
                            "lora", "sdxl", "low-rank weights (LoRA)"),
    "LoRA of FLUX": ({"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": (4, 4)}, "lora", "flux",
                     "low-rank weights (LoRA)"),
    "DoRA": ({f"{DOWN}.dora_scale": (4, 1), f"{DOWN}.lora_down.weight": (4, 768)}, "lora", "sd15",
             "low-rank weights (DoRA)"),
    "LoHa": ({f"{DOWN}.hada_w1_a": (4, 4)}, "lora", None, "low-rank weights (LoHa)"),
    "LoKr": ({f"{DOWN}.lokr_w1": (4, 4)}, "lora", None, "low-rank weights (LoKr)"),
    "OFT": ({f"{DOWN}.oft_blocks": (4, 4, 4)}, "lora", None, "low-rank weights (OFT)"),
    "A1111's textual inversion": ({"emb_params": (4, 768)}, "embedding", None, "a textual inversion"),
    "SDXL's textual inversion": ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "embedding", None, "a textual inversion"),
    "diffusers' textual inversion": ({"<cat>": (1, 768)}, "embedding", None, "a textual inversion"),
    "FLUX, whole": ({"model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale": (8,),
                     "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight": (8, 8)},
                    "transformer", "flux", "a FLUX.1 transformer"),
    "SD3": ({"model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight": (8, 8),
             "first_stage_model.decoder.conv_in.weight": (8, 16, 3, 3)}, "transformer", "sd3",
            "a Stable Diffusion 3 transformer"),
    "Wan": ({"blocks.0.self_attn.q.weight": (8, 8), "head.modulation": (1, 2, 8)}, "transformer", "wan",
            "a Wan video transformer"),
    "SDXL's refiner": ({"model.diffusion_model.input_blocks.0.0.weight": (384, 4, 3, 3),
                        "model.diffusion_model.label_emb.0.0.weight": (8, 8),
                        "model.diffusion_model.input_blocks.4.1.transformer_blocks.3.norm1.weight": (8,),
                        "model.diffusion_model.input_blocks.11.0.in_layers.0.weight": (8,)}, "checkpoint",
                       "sdxl-refiner", "an SDXL refiner"),
    "the upscaler of SD2": ({"model.diffusion_model.input_blocks.0.0.weight": (256, 7, 3, 3),
                             "model.diffusion_model.label_emb.weight": (1000, 8)}, "checkpoint", "upscaler",
                            "a Stable Diffusion upscaler that enlarges pictures"),
    "ControlNet's first form": ({"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}, "controlnet", None,
                                "a ControlNet"),
    "IP-Adapter": ({"image_proj.proj.weight": (8, 8), "ip_adapter.1.to_k_ip.weight": (8, 8)}, "adapter", None,
                   "an IP-Adapter"),
    "OpenCLIP": ({"transformer.resblocks.0.attn.in_proj_weight": (96, 32)}, "text-encoder", "clip",
                 "an OpenCLIP text encoder"),
    "T5 of ComfyUI": ({"encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8), "shared.weight": (8, 8)},
                      "text-encoder", "t5", "a T5 text encoder"),
    "LLaVA's projector": ({"model.mm_projector.0.weight": (8, 8)}, "projector", None,
                          "a projector between a vision tower and a language model"),
    "ESRGAN": ({"params_ema.body.0.rdb1.conv1.weight": (8, 8, 3, 3)}, "other", None,
               "an upscaling network of another house"),
    "a safety checker": ({"concept_embeds": (17, 768), "vision_model.embeddings.x": (1,)}, "other", None,
                         "a safety checker"),
    "a tensor": ({"x": (1,)}, "unknown", None, "a file of tensors that are known from nowhere"),
    "nothing": ({}, "unknown", None, "a file without tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_AUTHORS)
def test_a_file_as_its_authors_name_its_tensors_is_recognised(name):
    shapes, *expected = OF_AUTHORS[name]
    kind = recognise(shapes, {})
    assert [kind.name, kind.family, kind.said] == expected and kind.opens


def test_metadata_says_what_the_names_of_low_rank_weights_do_not():
    shapes = {"lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight": (4, 4)}
    for version, family in (("sd_v1", "sd15"), ("sdxl_base_v1-0", "sdxl"), ("sd_v2_768_v", "sd2"), ("x", None)):
        assert recognise(shapes, {"ss_base_model_version": version}).family == family


def test_a_head_is_read_without_the_weights(tmp_path):
    save_file({"a": torch.zeros(2, 3).half(), "b": torch.zeros(4)}, tmp_path / "x.safetensors", {"title": "ours"})
    header = read_header(tmp_path / "x.safetensors")
    assert header.shapes == {"a": (2, 3), "b": (4,)} and header.formats == {"a": "F16", "b": "F32"}
    assert header.metadata == {"title": "ours"}
    torch.save({"state_dict": {"a": torch.zeros(2, 3)}, "epoch": 5}, tmp_path / "x.ckpt")
    header = read_header(tmp_path / "x.ckpt")
    assert (header.shapes, header.formats, header.numbers) == ({"a": (2, 3)}, {"a": "float32"}, {"epoch": 5})


@pytest.mark.parametrize(
    "head",
    [b"[]", b"{", b'{"a": 1}', b'{"a": {"dtype": "F32"}}', b'{"a": {"dtype": "F32", "shape": 3, "data_offsets": []}}',
     b'{"__metadata__": 3}', b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, "4"]}}',
     b"[" * 5000, json.dumps({"a": {"dtype": "F32", "shape": [10], "data_offsets": [0, 40]}}).encode()],
)  # fmt: skip
def test_a_head_that_says_something_else_than_the_file_holds_is_told(head, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(UserError, match="is damaged or not whole"):
        read_header(tmp_path / "x.safetensors")


def test_the_table_needs_no_library():
    told = "import sys, llmga.diffusers.file_kinds; print(sorted({'torch', 'diffusers', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout == "[]\n"
