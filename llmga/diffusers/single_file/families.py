"""The families of single files: a row each, of what their tensors and shapes do not say.

Sources: the diffusers folders stable-diffusion-v1-5, stable-diffusion-2-1, stable-diffusion-2-1-base,
stable-diffusion-xl-base-1.0 and playground-v2.5-1024px-aesthetic, and the authors' configs v1-inference.yaml,
v2-inference-v.yaml and sd_xl_base.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmga.diffusers.published import BETAS
from llmga.registry import Registry

UNET, VAE = "model.diffusion_model.", "first_stage_model."
HEAD = 64  # width of an attention head, in CLIP's towers and in the UNets since SD2


@dataclass(frozen=True)
class Tower:
    """A text encoder in a file.

    Attributes:
        part: its name in a pipeline.
        prefixes: what its tensors' names begin with, one of them.
        layout: `clip`, named as transformers does, or `openclip`.
        kind: class of transformers.
        activation: of its layers.
        unused: how many of its last layers are not looked at.
        pad: the token that fills its prompts up.
    """

    part: str
    prefixes: tuple[str, ...]
    layout: str
    kind: str
    activation: str
    unused: int = 0
    pad: str = "<|endoftext|>"


@dataclass(frozen=True)
class SingleFileFamily:
    """A row.

    Attributes:
        name: as `FileKind.family` has it.
        said: in sentences.
        pipelines: class of diffusers by what is given beside noise: 4 channels for nothing, 9 for inpainting.
        towers: the text encoders.
        unet: settings that no shape tells.
        sides: latent positions a side that it was made for, by what the UNet says.
        scaling: of the latents.
        vae: other settings of the VAE.
        scheduler: class, and settings beside `BETAS`.
        options: of the pipeline itself.
        architecture: in the words of Stability's model specification.
    """

    name: str
    said: str
    pipelines: Mapping[int, str]
    towers: tuple[Tower, ...]
    unet: Mapping[str, Any]
    sides: Mapping[str, int]
    scaling: float
    scheduler: tuple[str, Mapping[str, Any]]
    architecture: str
    vae: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


_SD = {4: "StableDiffusionPipeline", 9: "StableDiffusionInpaintPipeline"}
_PNDM = ("PNDMScheduler", {**BETAS, "skip_prk_steps": True, "set_alpha_to_one": False, "clip_sample": False})
_SAFETY = {"requires_safety_checker": False}

FAMILIES = Registry("family of single files", {
    "sd15": SingleFileFamily(
        "sd15", "Stable Diffusion 1.5", _SD,
        (Tower("text_encoder", ("cond_stage_model.transformer.",), "clip", "CLIPTextModel", "quick_gelu"),),
        unet={"attention_head_dim": 8}, sides={"epsilon": 64, "v_prediction": 64}, scaling=0.18215, scheduler=_PNDM,
        architecture="stable-diffusion-v1", options=_SAFETY,
    ),
    "sd2": SingleFileFamily(
        "sd2", "Stable Diffusion 2", _SD,
        (Tower("text_encoder", ("cond_stage_model.model.", "conditioner.embedders.0.model."), "openclip",
               "CLIPTextModel", "gelu", unused=1, pad="!"),),
        # Its attention overflows in half precision otherwise.
        unet={"upcast_attention": True}, sides={"epsilon": 64, "v_prediction": 96}, scaling=0.18215, scheduler=_PNDM,
        architecture="stable-diffusion-v2", options=_SAFETY,
    ),
    "sdxl": SingleFileFamily(
        "sdxl", "SDXL", {4: "StableDiffusionXLPipeline", 9: "StableDiffusionXLInpaintPipeline"},
        (Tower("text_encoder", ("conditioner.embedders.0.transformer.",), "clip", "CLIPTextModel", "quick_gelu"),
         Tower("text_encoder_2", ("conditioner.embedders.1.model.",), "openclip", "CLIPTextModelWithProjection",
               "gelu", pad="!")),
        unet={"addition_embed_type": "text_time", "addition_time_embed_dim": 256},
        sides={"epsilon": 128, "v_prediction": 128}, scaling=0.13025,
        scheduler=("EulerDiscreteScheduler", {**BETAS, "timestep_spacing": "leading"}),
        architecture="stable-diffusion-xl-v1-base", vae={"force_upcast": True},
        options={"force_zeros_for_empty_prompt": True},
    ),
})  # fmt: skip
