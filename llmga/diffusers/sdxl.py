"""Stable Diffusion XL: two text towers, a pooled vector, and micro-conditioning on size and crop."""

from dataclasses import replace

from torch import Tensor

from llmga.diffusers.families import EDITING, INPAINTING, Family
from llmga.diffusers.long_prompt import PromptEmbeddings


def prompt_arguments(prompt: PromptEmbeddings) -> dict[str, Tensor | None]:
    return {
        "prompt_embeds": prompt.embeds,
        "pooled_prompt_embeds": prompt.pooled,
        "negative_prompt_embeds": prompt.negative_embeds,
        "negative_pooled_prompt_embeds": prompt.negative_pooled,
    }


def conditions(pooled: Tensor | None, time_ids: Tensor) -> dict[str, Tensor]:
    """Time ids are original (height, width), crop (top, left), target (height, width).

    They stay in single precision: bfloat16 would round a picture of 1023 pixels to 1024.
    """
    return {"text_embeds": pooled, "time_ids": time_ids.float()}


SDXL = Family("sdxl", "StableDiffusionXLPipeline", 50, 5.0, prompt_arguments, conditions)
# The original takes strength 0.8, which lets what was there shine through; at 1 this base model paints greyish patches.
SDXL_INPAINTING = replace(
    SDXL,
    name="sdxl-inpainting",
    pipeline_class="StableDiffusionXLInpaintPipeline",
    steps=30,
    guidance_scale=7.5,
    task=INPAINTING,
    strength=0.99,
)
SDXL_EDITING = replace(SDXL, name="sdxl-editing", guidance_scale=7.5, task=EDITING)
