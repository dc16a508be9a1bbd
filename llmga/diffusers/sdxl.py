"""Stable Diffusion XL: two text towers, a pooled vector, and micro-conditioning on size and crop."""

from torch import Tensor

from llmga.diffusers.families import Family
from llmga.diffusers.long_prompt import PromptEmbeddings


def prompt_arguments(prompt: PromptEmbeddings) -> dict[str, Tensor | None]:
    return {
        "prompt_embeds": prompt.embeds,
        "pooled_prompt_embeds": prompt.pooled,
        "negative_prompt_embeds": prompt.negative_embeds,
        "negative_pooled_prompt_embeds": prompt.negative_pooled,
    }


def conditions(pooled: Tensor | None, time_ids: Tensor) -> dict[str, Tensor]:
    """Time ids are original (height, width), crop (top, left), target (height, width)."""
    return {"text_embeds": pooled, "time_ids": time_ids.to(pooled.dtype)}


SDXL = Family("sdxl", "StableDiffusionXLPipeline", 50, 5.0, prompt_arguments, conditions)
