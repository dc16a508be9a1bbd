"""One set of picture weights for all visits, and one painting with them at a time."""

from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from PIL import Image

from llmga.diffusers.generators import suited, twin_of
from llmga.diffusers.text_to_image import Generator, OnStep

WAIT = 0.2  # seconds between two looks whether it is to stop


@dataclass(frozen=True)
class Brush:
    """One visit's painter: `brush(prompt, image, mask, …) -> image`.

    Attributes:
        generator: the visit's own, with weights that others use, too.
        lock: held by whoever paints with these weights.
    """

    generator: Generator
    lock: Lock

    @classmethod
    def of(cls, shared: Generator, lock: Lock) -> "Brush":
        """A new one for a visit."""
        return cls(twin_of(shared), lock)

    def __call__(self, prompt: str, *, on_step: OnStep, **options: Any) -> Image.Image:
        """As the generator.

        Args:
            on_step: called with (0, 1) while it waits for its turn, then after each step; what it raises ends it.

        Raises: UserError.
        """
        while not self.lock.acquire(timeout=WAIT):
            on_step(0, 1)
        try:
            on_step(0, 1)
            return self.generator(prompt, on_step=on_step, **options)
        finally:
            self.lock.release()

    def use_sampler(self, name: str | None) -> None:
        """Sample with a row of `SAMPLERS` from now on; None is what the weights were opened with.

        Raises: UserError.
        """
        self.generator.use_sampler(name or self.generator.defaults.get("sampler", "checkpoint"))

    def suited(self, task: str) -> "Brush":
        """The brush for another task; see `llmga.diffusers.generators.suited`."""
        return replace(self, generator=suited(self.generator, task))

    def describe(self, **options: Any) -> dict[str, Any]:
        """As the generator."""
        return self.generator.describe(**options)

    def report(self, prompt: str) -> object:
        """As the generator."""
        return self.generator.report(prompt)
