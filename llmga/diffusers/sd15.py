"""Stable Diffusion 1.5: one text tower, no pooled vector, no size conditioning."""

from dataclasses import replace

from torch import Tensor

from llmga.diffusers.families import EDITING, INPAINTING, Family
from llmga.diffusers.long_prompt import PromptEmbeddings


def prompt_arguments(prompt: PromptEmbeddings) -> dict[str, Tensor | None]:
    return {"prompt_embeds": prompt.embeds, "negative_prompt_embeds": prompt.negative_embeds}


def conditions(pooled: Tensor | None, time_ids: Tensor) -> None:
    """SD1.5 is told nothing but the text."""
    return None


SD15 = Family("sd15", "StableDiffusionPipeline", 50, 7.5, prompt_arguments, conditions)
SD15_INPAINTING = replace(
    SD15, name="sd15-inpainting", pipeline_class="StableDiffusionInpaintPipeline", task=INPAINTING
)
SD15_EDITING = replace(SD15, name="sd15-editing", task=EDITING)
