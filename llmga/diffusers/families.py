"""What a family of diffusion models is: the values in which one differs from another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from llmga.choices import EDITING as EDITING
from llmga.choices import INPAINTING as INPAINTING
from llmga.choices import TEXT_TO_IMAGE as TEXT_TO_IMAGE
from llmga.diffusers.long_prompt import PromptEmbeddings


@dataclass(frozen=True)
class Family:
    """A row of the table of generators.

    Attributes:
        pipeline_class: name of the diffusers class, as `model_index.json` states it.
        steps, guidance_scale: used when neither the caller nor the checkpoint says otherwise.
        prompt_arguments: embeddings -> keyword arguments of the pipeline; None for a family whose pipeline is given
            the text itself.
        conditions: pooled (batch, width), time ids (batch, 6) -> the UNet's `added_cond_kwargs` in training; None for
            a family that is not trained here.
        task: `text-to-image`, `inpainting` or `editing`.
        strength: how much of the old content inpainting drowns in noise, 1 is all of it.
    """

    name: str
    pipeline_class: str
    steps: int
    guidance_scale: float
    prompt_arguments: Callable[[PromptEmbeddings], dict[str, Tensor | None]] | None = None
    conditions: Callable[[Tensor | None, Tensor], dict[str, Tensor] | None] | None = None
    task: str = TEXT_TO_IMAGE
    strength: float = 1.0

    @property
    def architecture(self) -> str:
        """The family's name without its task, such as `sdxl`."""
        return self.name.partition("-")[0]

    def load_pipeline_class(self) -> Any:
        """The diffusers class itself, imported when it is needed."""
        import diffusers

        return getattr(diffusers, self.pipeline_class)
