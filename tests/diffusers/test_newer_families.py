"""The contract holds for families that came later: tiny random SD3 and FLUX."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from llmga.diffusers.adapters import add_loras, remove_loras
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError


def clip(kind, words):
    return kind(CLIPTextConfig(
        vocab_size=words, hidden_size=32, projection_dim=32, intermediate_size=37, num_hidden_layers=2,
        num_attention_heads=4, bos_token_id=words - 2, eos_token_id=words - 1,
    ))  # fmt: skip


def t5(words):
    return T5EncoderModel(T5Config(vocab_size=words, d_model=32, d_ff=37, d_kv=8, num_layers=1, num_heads=4))


def vae(channels):
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=channels, layers_per_block=1, sample_size=32, norm_num_groups=4,
        block_out_channels=(8, 8, 8, 8), down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, use_quant_conv=False, use_post_quant_conv=False,
        shift_factor=0.0609, scaling_factor=1.5035,
    )  # fmt: skip


def sd3(tokenizer):
    words = len(tokenizer)
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=16, out_channels=16, num_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=transformer, vae=vae(16), scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=clip(CLIPTextModelWithProjection, words), tokenizer=tokenizer,
        text_encoder_2=clip(CLIPTextModelWithProjection, words), tokenizer_2=tokenizer,
        text_encoder_3=t5(words), tokenizer_3=tokenizer,
    )  # fmt: skip


def flux(tokenizer):
    words = len(tokenizer)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8],
    )  # fmt: skip
    return FluxPipeline(
        transformer=transformer, vae=vae(4), scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=clip(CLIPTextModel, words), tokenizer=tokenizer, text_encoder_2=t5(words), tokenizer_2=tokenizer,
    )  # fmt: skip


@pytest.fixture(scope="module", params=[sd3, flux], ids=["sd3", "flux"])
def folder(goldens, request, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("newer")
    request.param(CLIPTokenizer.from_pretrained(goldens.folder("sd15") / "tokenizer")).save_pretrained(folder)
    return folder


def test_they_paint_from_words(folder):
    generator = load_pipeline(folder, device="cpu")
    assert generator.family.name == "auto"
    seen = []
    options = dict(size=(48, 64), steps=2, negative_prompt="ugly")
    first = generator("a cat", seed=1, on_step=lambda *step: seen.append(step), **options)
    assert first.size == (48, 64) and seen == [(1, 2), (2, 2)]
    assert generator("a cat", seed=1, **options).tobytes() == first.tobytes()
    assert generator("a cat", seed=2, **options).tobytes() != first.tobytes()
    assert generator.describe()["sampler"] == "FlowMatchEulerDiscreteScheduler"
    with pytest.raises(UserError, match="sampler 'euler' is for SD1.5 and SDXL"):
        generator.use_sampler("euler")


def test_they_repaint_and_keep_the_rest(folder):
    painter = load_pipeline(folder, task="inpainting", device="cpu")
    picture, mask = Image.radial_gradient("L").resize((71, 53)).convert("RGBA"), Image.new("L", (71, 53))
    mask.paste(255, (10, 10, 40, 30))
    result = painter("a cat", picture, mask, steps=3, size=(64, 48))
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(result)[kept], np.asarray(picture)[kept])
    assert (np.asarray(result)[~kept] != np.asarray(picture)[~kept]).any()


@pytest.mark.parametrize("spelling", ["peft", "its first one"])
def test_they_take_low_rank_weights_of_their_own(folder, tmp_path, spelling):
    generator = load_pipeline(folder, device="cpu")
    paint = lambda: generator("a cat", seed=1, size=(32, 32), steps=2).tobytes()  # noqa: E731
    layers, tensors, plain = {}, {}, paint()
    ends = {"peft": (".lora_A.weight", ".lora_B.weight"), "its first one": (".lora.down.weight", ".lora.up.weight")}
    for part in ("transformer", "text_encoder"):
        for name, layer in getattr(generator.pipe, part).named_modules():
            if name.endswith((".to_q", ".q_proj")):
                layers[f"{part}.{name}"] = layer
    torch.manual_seed(0)
    for name, layer in layers.items():
        down, up = (name + end for end in ends[spelling])
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
