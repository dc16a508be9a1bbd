"""One set of picture weights for many sessions, and one painting with them at a time."""

from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from llmga.diffusers.pipelines import suited, twin_of
from llmga.diffusers.text_to_image import Generator, OnStep
from llmga.serve.turns import Turns


@dataclass(frozen=True)
class Brush:
    """One session's painter: `brush(prompt, image, mask, …) -> image`.

    Attributes:
        generator: with weights that others use, too.
        turns: taken by whoever paints with these weights.
    """

    generator: Generator
    turns: Turns

    @classmethod
    def of(cls, shared: Generator, turns: Turns) -> "Brush":
        """A new one with a sampler of its own; a painter that runs elsewhere has but one."""
        return cls(twin_of(shared) if isinstance(shared, Generator) else shared, turns)

    def __call__(self, prompt: str, *, on_step: OnStep, **options: Any) -> Image.Image:
        """As the generator.

        Args:
            on_step: called with (0, 1) while it waits for its turn, then after each step; what it raises ends it.

        Raises: UserError.
        """
        with self.turns.taken(lambda: on_step(0, 1)):
            on_step(0, 1)
            return self.generator(prompt, on_step=on_step, **options)

    @property
    def path(self) -> str:
        """Where the weights lie."""
        return self.generator.path

    @property
    def native_size(self) -> tuple[int, int] | None:
        """As the generator; None where it does not say."""
        return getattr(self.generator, "native_size", None)

    def use_sampler(self, name: str | None) -> None:
        """Sample with a row of `SAMPLERS` from now on; None is what the weights were opened with.

        Raises: UserError.
        """
        self.generator.use_sampler(name)

    def suited(self, task: str) -> "Brush":
        """The brush for another task; see `llmga.diffusers.pipelines.suited`."""
        return replace(self, generator=suited(self.generator, task))

    def describe(self, **options: Any) -> dict[str, Any]:
        """As the generator."""
        return self.generator.describe(**options)

    def report(self, prompt: str) -> object:
        """As the generator."""
        return self.generator.report(prompt)
