"""Tiny random painters of the newer families, each of its library's own classes with a configuration like the real
one's, and two that change pictures by an instruction."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from llmga.processors import without_films

CLIP_TOKENIZER = Path(__file__).parents[1] / "fixtures/diffusion/pipelines/sd15/tokenizer"
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
         "<|video_pad|>"]  # fmt: skip
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}  # FLUX.1 dev's


def qwen_tokenizer():
    """Letters as tokens, with Qwen's marks and frame of a chat."""
    letters = [*MARKS, *sorted(ByteLevel.alphabet())]
    tokenizer = Qwen2Tokenizer(vocab={letter: at for at, letter in enumerate(letters)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS[1:]})
    tokenizer.chat_template = CHATML
    return tokenizer


def clip(kind, words, layers=2):
    return kind(CLIPTextConfig(
        vocab_size=words, hidden_size=32, projection_dim=32, intermediate_size=37, num_hidden_layers=layers,
        num_attention_heads=4, bos_token_id=words - 2, eos_token_id=words - 1,
    ))  # fmt: skip


def t5(words):
    return T5EncoderModel(T5Config(vocab_size=words, d_model=32, d_ff=37, d_kv=8, num_layers=1, num_heads=4))


def qwen3(kind, words, layers):
    return kind(Qwen3Config(
        vocab_size=words, hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, tie_word_embeddings=True,
    ))  # fmt: skip


def qwen_vl(words):
    text = {
        "vocab_size": words, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": 0, "eos_token_id": 0,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6},
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
              "fullatt_block_indexes": [0], "window_size": 28}  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, vision_start_token_id=3, vision_end_token_id=4, image_token_id=5,
        video_token_id=6, **text,
    ))  # fmt: skip


def vae(channels):
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=channels, layers_per_block=1, sample_size=32, norm_num_groups=4,
        block_out_channels=(8, 8, 8, 8), down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, use_quant_conv=False, use_post_quant_conv=False,
        shift_factor=0.0609, scaling_factor=1.5035,
    )  # fmt: skip


def sd3(tokenizer, qk_norm=None):
    words = len(tokenizer)
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64,
        qk_norm=qk_norm,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=transformer, vae=vae(16), scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=clip(CLIPTextModelWithProjection, words), tokenizer=tokenizer,
        text_encoder_2=clip(CLIPTextModelWithProjection, words), tokenizer_2=tokenizer,
        text_encoder_3=t5(words), tokenizer_3=tokenizer,
    )  # fmt: skip


def sd35(tokenizer):
    return sd3(tokenizer, "rms_norm")


def flux(tokenizer, kind=FluxPipeline, guided=True, channels=16, schedule=DYNAMIC):
    words = len(tokenizer)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=channels, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8],
        guidance_embeds=guided,
    )  # fmt: skip
    return kind(
        transformer=transformer, vae=vae(4), scheduler=FlowMatchEulerDiscreteScheduler(**schedule),
        text_encoder=clip(CLIPTextModel, words), tokenizer=tokenizer, text_encoder_2=t5(words), tokenizer_2=tokenizer,
    )  # fmt: skip


def schnell(tokenizer):
    return flux(tokenizer, guided=False, schedule={"shift": 1.0})


def fill(tokenizer):
    return flux(tokenizer, FluxFillPipeline, channels=16 + 16 + 4 * 64)  # noisy, masked, the mask


def kontext(tokenizer):
    return flux(tokenizer, FluxKontextPipeline)


def klein(tokenizer, distilled=True):
    words = qwen_tokenizer()
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    pixels = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=32,
    )  # fmt: skip
    pixels.bn.running_mean.normal_(), pixels.bn.running_var.uniform_(0.5, 2)
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**DYNAMIC), vae=pixels, tokenizer=words, transformer=transformer,
        text_encoder=qwen3(Qwen3ForCausalLM, len(words), 28), is_distilled=distilled,
    )  # fmt: skip


def klein_base(tokenizer):
    return klein(tokenizer, distilled=False)


def qwen(tokenizer, kind=QwenImagePipeline, **more):
    words = qwen_tokenizer()
    transformer = QwenImageTransformer2DModel(
        in_channels=64, out_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    pixels = AutoencoderKLQwenImage(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    return kind(
        scheduler=FlowMatchEulerDiscreteScheduler(**DYNAMIC), vae=pixels, transformer=transformer,
        tokenizer=words, text_encoder=qwen_vl(len(words)), **more,
    )  # fmt: skip


def qwen_edit(tokenizer, kind=QwenImageEditPipeline):
    looks = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56)
    return qwen(tokenizer, kind, processor=without_films(Qwen2VLProcessor)(looks, qwen_tokenizer()))


def qwen_edit_plus(tokenizer):
    return qwen_edit(tokenizer, QwenImageEditPlusPipeline)


def z_image(tokenizer, shift=6.0):
    words = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=16, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[4, 6, 6], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift), vae=vae(16), tokenizer=words, transformer=transformer,
        text_encoder=qwen3(Qwen3Model, len(words), 2),
    )  # fmt: skip


def z_image_turbo(tokenizer):
    return z_image(tokenizer, shift=3.0)


def _unet(width, **more):
    return UNet2DConditionModel(
        sample_size=8, in_channels=8, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width, attention_head_dim=4, **more,
    )  # fmt: skip


def _of_images():
    return AutoencoderKL(
        latent_channels=4, layers_per_block=1, sample_size=32, norm_num_groups=4, block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    )  # fmt: skip


def _betas():
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def pix2pix(tokenizer):
    return StableDiffusionInstructPix2PixPipeline(
        vae=_of_images(), text_encoder=clip(CLIPTextModel, len(tokenizer)), tokenizer=tokenizer, unet=_unet(32),
        scheduler=_betas(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def pix2pix_xl(tokenizer):
    words = len(tokenizer)
    unet = _unet(64, addition_embed_type="text_time", addition_time_embed_dim=8,
                 projection_class_embeddings_input_dim=6 * 8 + 32)  # fmt: skip
    return StableDiffusionXLInstructPix2PixPipeline(
        vae=_of_images(), text_encoder=clip(CLIPTextModel, words), unet=unet, scheduler=_betas(),
        text_encoder_2=clip(CLIPTextModelWithProjection, words), tokenizer=tokenizer, tokenizer_2=tokenizer,
    )  # fmt: skip


def saved(name, folder):
    """One of the above with the same weights every time, as a folder."""
    torch.manual_seed(0)
    make = globals()[name]
    make(CLIPTokenizer.from_pretrained(CLIP_TOKENIZER)).save_pretrained(folder)
    return folder
