"""Families of diffusion models: a row for each and every task, the values in which one differs from another."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from llmga.choices import EDITING as EDITING
from llmga.choices import INPAINTING as INPAINTING
from llmga.choices import TEXT_TO_IMAGE as TEXT_TO_IMAGE
from llmga.diffusers.long_prompt import PromptEmbeddings
from llmga.diffusers.own_text import OwnText

# How a row of the task `editing` changes a picture: where two descriptions differ, towards one description, or as it is
# told.
DIFFERENCE, LIKENESS, INSTRUCTION = "difference", "likeness", "instruction"


Arguments = dict[str, Any]


def as_they_are(arguments: Arguments) -> Arguments:
    """Keyword arguments that most pipelines of diffusers take."""
    return arguments


def without_size(arguments: Arguments) -> Arguments:
    """Those of a pipeline that takes the size of its picture."""
    return {name: value for name, value in arguments.items() if name not in ("width", "height")}


@dataclass(frozen=True)
class Family:
    """A row of the table of pipelines (`llmga.diffusers.pipelines.PIPELINES`).

    Attributes:
        name: the architecture and, for other tasks than text-to-image, the task: `sdxl`, `sdxl-inpainting`.
        pipeline_class: name of the diffusers class, as `model_index.json` states it; or a class with its interface.
        steps: used when neither the caller nor the checkpoint says otherwise.
        guidance_scale: as `steps`.
        prompt_arguments: embeddings -> keyword arguments of the pipeline; None for a family whose pipeline is given
            the text itself.
        conditions: pooled (batch, width), time ids (batch, 6) -> the UNet's `added_cond_kwargs` in training; None for
            a family that is not trained here.
        task: `text-to-image`, `inpainting` or `editing`.
        strength: how much of the old content inpainting replaces by noise, above 0 to 1, which is all of it.
        of: the architecture, where that is more than the name up to its first hyphen.
        text: what a pipeline that reads the text itself is told; None for all others, and where nothing is known of it.
        told_by: what tells this row from later ones of the same class: a file of the folder, a key in it, its value.
        edits_by: how a row of the task `editing` changes a picture, `difference`, `likeness` or `instruction`.
        adapted: keyword arguments (width, height, image …) -> those that the pipeline's class takes.
        from_words: whether a row for changing pictures also paints one where none is given.
    """

    name: str
    pipeline_class: str | type
    steps: int
    guidance_scale: float
    prompt_arguments: Callable[[PromptEmbeddings], dict[str, Tensor | None]] | None = None
    conditions: Callable[[Tensor | None, Tensor], dict[str, Tensor | None] | None] | None = None
    task: str = TEXT_TO_IMAGE
    strength: float = 1.0
    of: str = ""
    text: OwnText | None = None
    told_by: tuple[str, str, Any] | None = None
    edits_by: str = DIFFERENCE
    adapted: Callable[[Arguments], Arguments] = as_they_are
    from_words: bool = True

    @property
    def architecture(self) -> str:
        """The family's name without its task, such as `sdxl`."""
        return self.of or self.name.partition("-")[0]

    def extra_channels(self, latent: int) -> tuple[int, ...]:
        """How many channels a UNet may take beside its latents' own, for a mask and a picture, or for a picture."""
        if self.edits_by == INSTRUCTION:
            return (latent,)
        return (0, latent + 1) if self.task == INPAINTING else (0,)

    @property
    def class_name(self) -> str:
        """The pipeline class by name."""
        return self.pipeline_class if isinstance(self.pipeline_class, str) else self.pipeline_class.__name__

    def load_pipeline_class(self) -> Any:
        """The pipeline class itself, diffusers being imported when it is needed."""
        if not isinstance(self.pipeline_class, str):
            return self.pipeline_class
        import diffusers

        return getattr(diffusers, self.pipeline_class)


def sd15_prompt(prompt: PromptEmbeddings) -> dict[str, Tensor | None]:
    """One text encoder, no pooled vector."""
    return {"prompt_embeds": prompt.embeds, "negative_prompt_embeds": prompt.negative_embeds}


def sdxl_prompt(prompt: PromptEmbeddings) -> dict[str, Tensor | None]:
    """Two text encoders, and the pooled vector of the second."""
    return sd15_prompt(prompt) | {
        "pooled_prompt_embeds": prompt.pooled,
        "negative_pooled_prompt_embeds": prompt.negative_pooled,
    }


def sdxl_conditions(pooled: Tensor | None, time_ids: Tensor) -> dict[str, Tensor | None]:
    """Time ids are original (height, width), crop (top, left), target (height, width).

    They stay in single precision: bfloat16 would round a picture of 1023 pixels to 1024.
    """
    return {"text_embeds": pooled, "time_ids": time_ids.float()}


SD15 = Family("sd15", "StableDiffusionPipeline", 50, 7.5, sd15_prompt, lambda pooled, time_ids: None)
SDXL = Family("sdxl", "StableDiffusionXLPipeline", 50, 5.0, sdxl_prompt, sdxl_conditions)
# Any other pipeline that diffusers knows to be for the task: given the text itself.
AUTO = Family("auto", "AutoPipelineForText2Image", 28, 5.0)
SD15_INPAINTING = replace(
    SD15, name="sd15-inpainting", pipeline_class="StableDiffusionInpaintPipeline", task=INPAINTING
)
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
AUTO_INPAINTING = replace(
    AUTO, name="auto-inpainting", pipeline_class="AutoPipelineForInpainting", task=INPAINTING, strength=0.99
)
SD15_EDITING = replace(SD15, name="sd15-editing", task=EDITING)
SDXL_EDITING = replace(SDXL, name="sdxl-editing", guidance_scale=7.5, task=EDITING)
SD15_INSTRUCTED = replace(
    SD15,
    name="sd15-pix2pix",
    of="sd15-pix2pix",
    pipeline_class="StableDiffusionInstructPix2PixPipeline",
    task=EDITING,
    edits_by=INSTRUCTION,
    adapted=without_size,
    from_words=False,
)
SDXL_INSTRUCTED = replace(
    SDXL,
    name="sdxl-pix2pix",
    of="sdxl-pix2pix",
    pipeline_class="StableDiffusionXLInstructPix2PixPipeline",
    task=EDITING,
    edits_by=INSTRUCTION,
    from_words=False,
)
UNET_FAMILIES = (SDXL, SD15, SDXL_INPAINTING, SD15_INPAINTING, SDXL_EDITING, SD15_EDITING, SD15_INSTRUCTED,
                 SDXL_INSTRUCTED)  # fmt: skip
