"""An untrained SDXL of toy size around the toy world's VAE and text towers; stage 2's trainer teaches it to paint."""

import json
from pathlib import Path

import torch
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers import DPMSolverMultistepScheduler
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

DEFAULTS: dict[str, float] = {"steps": 20, "guidance_scale": 3.0}


def architecture(cross_attention: int, pooled: int) -> UNet2DConditionModel:
    """4.2 M parameters in SDXL's shape: no attention at the top level, text_time conditioning."""
    time_width = 32
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 96),
        layers_per_block=2,
        cross_attention_dim=cross_attention,
        attention_head_dim=[1, 2, 3],  # diffusers' old name for the number of heads
        use_linear_projection=True,
        norm_num_groups=16,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=pooled + 6 * time_width,
    )


def sampler() -> DPMSolverMultistepScheduler:
    """Stable Diffusion's noise schedule with velocity prediction (Salimans and Ho 2022, arXiv:2202.00512)."""
    return DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction",
        algorithm_type="dpmsolver++", timestep_spacing="trailing",
    )  # fmt: skip


def assemble(vae: Path, clip: Path, folder: Path, seed: int = 0) -> None:
    """Write a diffusers folder with a fresh UNet."""
    text_1 = CLIPTextModel.from_pretrained(clip / "text_encoder", trust_remote_code=False)
    text_2 = CLIPTextModelWithProjection.from_pretrained(clip / "text_encoder_2", trust_remote_code=False)
    torch.manual_seed(seed)
    unet = architecture(text_1.config.hidden_size + text_2.config.hidden_size, text_2.text_projection.out_features)
    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_pretrained(vae, trust_remote_code=False),
        text_encoder=text_1,
        text_encoder_2=text_2,
        tokenizer=CLIPTokenizer.from_pretrained(clip / "tokenizer", trust_remote_code=False),
        tokenizer_2=CLIPTokenizer.from_pretrained(clip / "tokenizer_2", trust_remote_code=False),
        unet=unet,
        scheduler=sampler(),  # type: ignore[arg-type]  # annotated as the enumeration of their names
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    (folder / "generation_defaults.json").write_text(json.dumps(DEFAULTS) + "\n")
