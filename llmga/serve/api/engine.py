"""One set of models, many requests: each is an assistant of its own that answers one turn in a thread."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Lock
from typing import Any

from PIL import Image

from llmga.diffusers.families import TEXT_TO_IMAGE
from llmga.diffusers.generators import for_task
from llmga.diffusers.text_to_image import Generator
from llmga.errors import UserError
from llmga.llava.planner import Planner
from llmga.serve.api.metrics import Metrics
from llmga.serve.api.safety import NO_GUARD, Guard
from llmga.serve.api.turns import Turns
from llmga.serve.api.verbatim import Verbatim
from llmga.serve.cli import Models
from llmga.serve.flow import Assistant, Failed, FlowEvent, PictureReady, PromptFound, Settings, TextDelta, Turn

_DONE = object()
FLAG = re.compile(r"--([a-z][\w-]+)")
FIELDS = {"max-new-tokens": "max_tokens", "steps": "num_inference_steps"}


class Engine:
    """The models, and what requests share of them.

    Args:
        models: loaded once; nothing of a request is kept in them.
        guard: what every picture passes on its way out.
        private: what no answer may hold, with what stands for it.
        at_once: how many requests are at work at the same time.  Words are written side by side, pictures are painted
            one after the other.
    """

    def __init__(
        self,
        models: Models,
        at_once: int,
        metrics: Metrics,
        guard: Guard = NO_GUARD,
        private: Mapping[str, str] | None = None,
    ):
        self.models, self.metrics, self.guard = models, metrics, guard
        self._private = dict(private or {})
        self.threads = ThreadPoolExecutor(at_once, thread_name_prefix="request")
        self.turns = Turns()
        self._painters: dict[str, Any] = {}
        self._lock = Lock()

    def painter(self, task: str = TEXT_TO_IMAGE) -> Any:
        """The painter of a task, on the weights that are there.  Raises: UserError where they cannot do it."""
        with self._lock:
            if task not in self._painters:
                self._painters[task] = for_task(self.models.generator, task)
            return self._painters[task]

    def job(self, chat: Planner, turn: Turn, settings: Settings, task: str = TEXT_TO_IMAGE, **options: Any) -> "Job":
        """A request, ready to begin.  Raises: UserError."""
        return Job(self, chat, self.painter(task), turn, settings, **options)

    def public(self, message: str) -> str:
        """A sentence of ours as clients may read it: our folders by their last part, flags as fields."""
        for private, name in self._private.items():
            message = message.replace(private, name)
        return FLAG.sub(lambda flag: FIELDS.get(flag[1], flag[1].replace("-", "_")), message)

    def close(self) -> None:
        """Wait for what is at work."""
        self.threads.shutdown()


class Job:
    """One request at work.

    Args:
        insist: the answer has to hold a picture; where the language model asks for none, its words are painted.
        done: called in the thread when all has gone well, before the last event is seen.
    """

    def __init__(
        self,
        engine: Engine,
        chat: Planner,
        painter: Generator,
        turn: Turn,
        settings: Settings,
        *,
        insist: bool = False,
        done: Callable[[], None] | None = None,
    ):
        self.engine, self.turn, self.insist, self.done = engine, turn, insist, done
        models = engine.models
        shared = SharedPainter(painter, self)
        self.assistant = Assistant(chat, shared, shared.restoring(models.restorer), settings, models.marks)
        self._cancelled = Event()
        self._first: Any = None
        self.steps_after_leaving = 0

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End within one token or one step; from any thread."""
        self._cancelled.set()
        self.assistant.cancel()

    def start(self, leave: Callable[[], None]) -> None:
        """Begin the work; `leave` is called when it has come to its end."""
        loop = asyncio.get_running_loop()
        self._seen: asyncio.Queue[Any] = asyncio.Queue()

        def put(event: FlowEvent) -> None:
            loop.call_soon_threadsafe(self._seen.put_nowait, event)

        self._running = loop.run_in_executor(self.engine.threads, self._work, put)
        self._running.add_done_callback(lambda _: self._ended(leave))

    def _ended(self, leave: Callable[[], None]) -> None:
        leave()
        if self.cancelled:
            self.engine.metrics.steps_after_leaving.observe(self.steps_after_leaving)
        self._seen.put_nowait(_DONE)

    async def first(self) -> FlowEvent | None:
        """Wait for the first event, which `events` gives, too; None where there is none.  Raises what the work did."""
        self._first = await self._seen.get()
        if self._first is _DONE:
            self._running.result()
            return None
        return self._first

    async def events(self) -> AsyncIterator[FlowEvent]:
        """What happens, to be read once; leaving early cancels the work.  Raises what the work did."""
        event = self._first
        try:
            while event is not _DONE:
                if event is not None:
                    yield event
                event = await self._seen.get()
            self._running.result()
        finally:
            if not self._running.done():
                self.cancel()

    def _work(self, put: Callable[[FlowEvent], None]) -> None:
        clock = Clock(self.engine.metrics)
        for event in self._answers():
            clock.saw(event)
            put(self._guarded(event))
        if self.done is not None and not self.cancelled:
            self.done()

    def _answers(self) -> Iterator[FlowEvent]:
        words, asked = "", False
        for event in self._answer(self.turn):
            words += event.text if isinstance(event, TextDelta) else ""
            asked |= isinstance(event, PromptFound) or (isinstance(event, Failed) and not event.cut)
            yield event
        if self.insist and not asked and not self.cancelled:
            self.assistant.chat = Verbatim()
            yield from self._answer(Turn(words.strip() or self.turn.text))

    def _guarded(self, event: FlowEvent) -> FlowEvent:
        if not isinstance(event, PictureReady):
            return event
        try:
            return replace(event, image=self.engine.guard(event.image))
        except UserError as problem:
            return Failed(str(problem))

    def _answer(self, turn: Turn) -> Iterator[FlowEvent]:
        events = self.assistant.respond(turn)
        if self.cancelled:  # before the assistant began to listen
            self.assistant.cancel()
        return events


class SharedPainter:
    """The painter as one request sees it: it waits its turn, and counts."""

    def __init__(self, generator: Any, job: Job):
        self.generator, self.job = generator, job
        self.describe = generator.describe
        self.report = getattr(generator, "report", None) or (lambda prompt: "")

    def __call__(self, prompt: str, *, on_step: Callable[[int, int], None], **options: Any) -> Image.Image:
        metrics, job = self.job.engine.metrics, self.job

        def counted(step: int, total: int) -> None:
            metrics.steps.inc()
            job.steps_after_leaving += job.cancelled
            on_step(step, total)

        def still_wanted() -> None:
            if job.cancelled:
                on_step(0, 1)  # which ends the painting

        with job.engine.turns.taken(still_wanted):
            still_wanted()
            image = self.generator(prompt, on_step=counted, **options)
        metrics.pictures.inc()
        return image

    def restoring(self, restorer: Callable[..., Image.Image]) -> Callable[..., Image.Image]:
        """The restorer, which waits its turn like a painting."""

        def restore(*pictures: Image.Image) -> Image.Image:
            with self.job.engine.turns.taken(lambda: None):
                return restorer(*pictures)

        return restore


class Clock:
    """Times the events of one request."""

    def __init__(self, metrics: Metrics):
        self.metrics, self.spoke = metrics, False
        self.began = self.asked = time.perf_counter()

    def saw(self, event: FlowEvent) -> None:
        """An event is there."""
        now = time.perf_counter()
        if isinstance(event, TextDelta | PromptFound) and not self.spoke:
            self.spoke = True
            self.metrics.first_word_seconds.observe(now - self.began)
        if isinstance(event, PromptFound):
            self.asked = now
        if isinstance(event, PictureReady):
            self.metrics.picture_seconds.observe(now - self.asked)
