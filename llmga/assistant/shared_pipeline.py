"""One set of picture weights for many sessions, and one painting with them at a time."""

from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import OutOfMemoryError

from llmga.assistant.fair_lock import Company, FairLock
from llmga.diffusers.batching import StepBatch
from llmga.diffusers.components import for_task, from_pipe
from llmga.diffusers.control import Control
from llmga.diffusers.families import DIFFERENCE
from llmga.diffusers.joining import joins, paint_beside
from llmga.diffusers.pipeline import OnStep, Pipeline


def with_own_sampler(shared: Any) -> Any:
    """The same weights with a sampler that nobody else chooses; the pipeline itself where it is none of ours.

    One that computes elsewhere, and can be sampled otherwise, has a method `own` for that.
    """
    if isinstance(shared, Pipeline):
        return from_pipe(shared)
    return shared.own() if hasattr(shared, "own") else shared


@dataclass(frozen=True)
class SharedPipeline:
    """One session's pipeline: `pipeline(prompt, image, mask, …) -> image`.

    Attributes:
        pipeline: with weights that others use, too.
        lock: taken by whoever paints with these weights.
        batch: where pictures from words meet that are denoised together; None paints one after the other.
        who: under whose name it waits for its turn.
    """

    pipeline: Pipeline
    lock: FairLock
    batch: StepBatch | None = None
    who: Hashable = None

    @classmethod
    def of(cls, shared: Pipeline, lock: FairLock, batch: StepBatch | None = None) -> "SharedPipeline":
        """A new one with a sampler and a name of its own; a pipeline that runs elsewhere has but one sampler."""
        return cls(with_own_sampler(shared), lock, batch, object())

    def __call__(self, prompt: str, *, on_step: OnStep, **options: Any) -> Image.Image:
        """As the pipeline; with a batch, beside others that paint from words, and the same picture.

        Args:
            on_step: called with (0, 1) while it waits for its turn, then after each step; what it raises ends it.

        Raises:
            UserError: as the pipeline.
        """
        if self.batch is not None and joins(self.pipeline, self.batch, options):
            together = Company(self.batch, self.batch.most)
            with suppress(OutOfMemoryError), self.lock.taken(lambda: on_step(0, 1), self.who, together):
                on_step(0, 1)
                return paint_beside(self.pipeline, self.batch, prompt, on_step=on_step, **options)
        with self.lock.taken(lambda: on_step(0, 1), self.who):
            on_step(0, 1)
            return self.pipeline(prompt, on_step=on_step, **options)

    def named(self, who: Hashable) -> "SharedPipeline":
        """The same, waiting for its turn under this name, be it elsewhere."""
        if hasattr(self.pipeline, "who"):
            self.pipeline.who = who
        return replace(self, who=who)

    @property
    def path(self) -> str:
        """Where the weights lie."""
        return self.pipeline.path

    @property
    def native_size(self) -> tuple[int, int] | None:
        """As the pipeline; None where it does not say."""
        return getattr(self.pipeline, "native_size", None)

    @property
    def edits_by(self) -> str:
        """As the pipeline; of one that does not say, by the difference of two descriptions."""
        return getattr(self.pipeline, "edits_by", DIFFERENCE)

    def suits(self, sampler: str | None) -> dict[str, float]:
        """As the pipeline; of one that does not say, nothing."""
        return self.pipeline.suits(sampler) if hasattr(self.pipeline, "suits") else {}

    def use_sampler(self, name: str | None) -> None:
        """Sample with a row of `SAMPLERS` from now on; None is what the weights were opened with.

        Raises:
            UserError: there is no such row, or the pipeline cannot be sampled so.
        """
        self.pipeline.use_sampler(name)

    def controls(self, given: Sequence[Control] | None) -> tuple[Control, ...]:
        """As the pipeline; one that runs elsewhere says only then whether it can."""
        checked = getattr(self.pipeline, "controls", tuple)
        return checked(given or ())  # None is what the pipeline was set up with, which was looked at then

    def for_task(self, task: str) -> "SharedPipeline":
        """The pipeline for another task; see `llmga.diffusers.components.for_task`."""
        return replace(self, pipeline=for_task(self.pipeline, task))

    def describe(self, **options: Any) -> dict[str, Any]:
        """As the pipeline."""
        return self.pipeline.describe(**options)

    def report(self, prompt: str) -> object:
        """As the pipeline."""
        return self.pipeline.report(prompt)
