"""One set of picture weights for many sessions, and one painting with them at a time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Condition
from typing import Any

from PIL import Image

from llmga.diffusers.components import for_task, from_pipe
from llmga.diffusers.control import Control
from llmga.diffusers.families import DIFFERENCE
from llmga.diffusers.pipeline import OnStep, Pipeline

LOOK_AGAIN = 0.1  # seconds between two looks at whether the one who waits still wants to


class FairLock:
    """A lock that is fair, and that a thread may leave the line of.

    A diffusion pipeline keeps state between its steps, so that it paints one picture at a time.

    Args:
        places: how many may hold it at once.
    """

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self._line: deque[object] = deque()
        self._moved = Condition()

    @property
    def waiting(self) -> int:
        """How many hold it or wait for it."""
        return len(self._line)

    @contextmanager
    def line(self) -> Iterator[Callable[[float], bool]]:
        """Stand in line, then hold the turn until the end.

        `reached(seconds)` waits for the turn, for at most so long, and tells whether it is there.
        """
        ticket = object()
        with self._moved:
            self._line.append(ticket)

        def reached(seconds: float) -> bool:
            with self._moved:
                return self._moved.wait_for(lambda: self._line.index(ticket) < self.places, seconds)

        try:
            yield reached
        finally:
            with self._moved:
                self._line.remove(ticket)
                self._moved.notify_all()

    @contextmanager
    def taken(self, still_wanted: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn and hold it.

        Args:
            still_wanted: called now and then while waiting; what it raises ends the wait.
        """
        with self.line() as reached:
            while not reached(LOOK_AGAIN):
                still_wanted()
            yield


@dataclass(frozen=True)
class SharedPipeline:
    """One session's pipeline: `pipeline(prompt, image, mask, …) -> image`.

    Attributes:
        pipeline: with weights that others use, too.
        lock: taken by whoever paints with these weights.
    """

    pipeline: Pipeline
    lock: FairLock

    @classmethod
    def of(cls, shared: Pipeline, lock: FairLock) -> "SharedPipeline":
        """A new one with a sampler of its own; a pipeline that runs elsewhere has but one."""
        return cls(from_pipe(shared) if isinstance(shared, Pipeline) else shared, lock)

    def __call__(self, prompt: str, *, on_step: OnStep, **options: Any) -> Image.Image:
        """As the pipeline.

        Args:
            on_step: called with (0, 1) while it waits for its turn, then after each step; what it raises ends it.

        Raises:
            UserError: as the pipeline.
        """
        with self.lock.taken(lambda: on_step(0, 1)):
            on_step(0, 1)
            return self.pipeline(prompt, on_step=on_step, **options)

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
