"""The published pipelines as rows of sizes, for plans that are made before anything is downloaded.

Sources: `config.json` of each part in the repositories stabilityai/stable-diffusion-xl-base-1.0,
diffusers/stable-diffusion-xl-1.0-inpainting-0.1, runwayml/stable-diffusion-v1-5 and
runwayml/stable-diffusion-inpainting.
"""

from dataclasses import dataclass
from typing import Any

import torch

from llmga.registry import Registry

CLIP_ROWS = 49408

UNET_SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
UNET_SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
CLIP_L: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                          "num_attention_heads": 12, "projection_dim": 768, "hidden_act": "quick_gelu"}  # fmt: skip
CLIP_G: dict[str, Any] = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                          "num_attention_heads": 20, "projection_dim": 1280, "hidden_act": "gelu"}  # fmt: skip
BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


@dataclass(frozen=True)
class Painter:
    """A published diffusers folder.

    Attributes:
        pipeline_class: as its model_index.json says.
        unet: settings of the UNet beside the defaults.
        vae: of the VAE.
        texts: of the text towers.
        scheduler: class of diffusers, and its settings beside `BETAS`.
        parameters: of the UNet.
    """

    pipeline_class: str
    unet: dict[str, Any]
    vae: dict[str, Any]
    texts: tuple[dict[str, Any], ...]
    scheduler: tuple[str, dict[str, Any]]
    parameters: int


_SDXL_VAE = VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}
_SD15_VAE = VAE | {"sample_size": 512, "scaling_factor": 0.18215, "force_upcast": False}
_EULER: tuple[str, dict[str, Any]] = ("EulerDiscreteScheduler", {"timestep_spacing": "leading"})
_PNDM: tuple[str, dict[str, Any]] = ("PNDMScheduler", {"skip_prk_steps": True})
NINE = {"in_channels": 9}
MORE = 5 * 320 * 9  # weights of five more input channels

PAINTERS = Registry(
    "published pipeline",
    {
        "stable-diffusion-xl-base-1.0": Painter(
            "StableDiffusionXLPipeline", UNET_SDXL, _SDXL_VAE, (CLIP_L, CLIP_G), _EULER, 2_567_463_684
        ),
        "stable-diffusion-xl-1.0-inpainting-0.1": Painter(
            "StableDiffusionXLInpaintPipeline", UNET_SDXL | NINE, _SDXL_VAE, (CLIP_L, CLIP_G), _EULER,
            2_567_463_684 + MORE,
        ),
        "stable-diffusion-v1-5": Painter(
            "StableDiffusionPipeline", UNET_SD15, _SD15_VAE, (CLIP_L,), _PNDM, 859_520_964
        ),
        "stable-diffusion-inpainting": Painter(
            "StableDiffusionInpaintPipeline", UNET_SD15 | NINE, _SD15_VAE, (CLIP_L,), _PNDM, 859_520_964 + MORE
        ),
    },
)  # fmt: skip


def text_config(settings: dict[str, Any]) -> Any:
    """The configuration of a text tower."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(vocab_size=CLIP_ROWS, bos_token_id=CLIP_ROWS - 2, eos_token_id=CLIP_ROWS - 1, **settings)


def empty_painter(name: str) -> dict[str, Any]:
    """The models of a published pipeline by name, on torch's meta device: shapes without weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    row = PAINTERS[name]
    with torch.device("meta"):
        kinds = zip((CLIPTextModel, CLIPTextModelWithProjection), row.texts, strict=False)
        towers = [kind(text_config(settings)) for kind, settings in kinds]
        parts: dict[str, Any] = {"unet": UNet2DConditionModel(**row.unet), "vae": AutoencoderKL(**row.vae)}
    return parts | dict(zip(("text_encoder", "text_encoder_2"), towers, strict=False))
