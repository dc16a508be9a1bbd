"""One set of picture weights for all visits: whatever a turn needs of it, one painting at a time."""

from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from PIL import Image

from llmga.diffusers.families import TEXT_TO_IMAGE
from llmga.diffusers.generators import suited
from llmga.diffusers.text_to_image import Generator, OnStep


class Painters:
    """The painters that share one checkpoint's weights, and the lock around them.

    Args:
        generator: as loaded; those for other tasks are made of it when they are needed.
    """

    def __init__(self, generator: Generator):
        self.generator, self.lock = generator, Lock()
        self.own_sampler = generator.defaults.get("sampler", "checkpoint")


@dataclass
class Brush:
    """One visit's painter for a task: `brush(prompt, image, mask, …) -> image`, with a sampler of its own.

    Attributes:
        sampler: a row of `llmga.diffusers.samplers.SAMPLERS`; None is what the painter was loaded with.
    """

    painters: Painters
    sampler: str | None = None
    task: str = TEXT_TO_IMAGE

    def __call__(self, prompt: str, *, on_step: OnStep, **options: Any) -> Image.Image:
        """As the painter for the task.

        Args:
            on_step: called with (0, 1) when its turn has come, then after each step; what it raises stops the work.

        Raises: UserError.
        """
        with self.painters.lock:
            on_step(0, 1)  # it may have been stopped while it waited
            return self._chosen()(prompt, on_step=on_step, **options)

    def describe(self, **options: Any) -> dict[str, Any]:
        """As the painter for the task."""
        with self.painters.lock:
            return self._chosen().describe(**options)

    def report(self, prompt: str) -> object:
        """How the prompt is cut; see `Generator.report`."""
        return self.painters.generator.report(prompt)

    def suited(self, task: str) -> "Brush":
        """The brush for another task; see `llmga.diffusers.generators.suited`."""
        return replace(self, task=task)

    def _chosen(self) -> Generator:
        """The painter with this visit's sampler; to be called with the lock held."""
        painter = suited(self.painters.generator, self.task)
        painter.use_sampler(self.sampler or self.painters.own_sampler)
        return painter
