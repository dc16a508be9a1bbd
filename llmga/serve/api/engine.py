"""One set of models, many requests: each is an assistant of its own that answers one turn in a thread."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from copy import copy
from dataclasses import dataclass, field, replace
from threading import Event, Lock
from typing import Any, cast

from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import AssistantEvent, PictureReady, PromptFound, TextDelta
from llmga.assistant.insisting import insisting
from llmga.assistant.loading import Models
from llmga.assistant.painting import is_instructed
from llmga.assistant.session import Turn
from llmga.assistant.settings import SETTINGS, Settings
from llmga.assistant.shared_pipeline import SharedPipeline, with_own_sampler
from llmga.diffusers.components import for_task
from llmga.diffusers.families import TEXT_TO_IMAGE
from llmga.diffusers.pipeline import OnStep
from llmga.errors import FLAG
from llmga.llava.conversation import Conversation
from llmga.llava.passthrough import PassthroughPlanner
from llmga.llava.planner import Planner
from llmga.serve.api import usage
from llmga.serve.api.metrics import Metrics, ModelLabels
from llmga.serve.api.tracing import Tracing, TurnSpans

FIELDS = {row.flag: row.request for row in SETTINGS.values() if row.flag and row.request}


class Engine:
    """The models, and what all requests share of them.

    Args:
        models: Loaded once; nothing of a request is kept in them.
        at_once: How many requests are at work at the same time, those included that wait for the painter.
        private: What no answer may hold, with what stands for it.
        tracing: Makes the spans of requests.
        labels: What figures call the models.
    """

    def __init__(
        self,
        models: Models,
        at_once: int,
        metrics: Metrics,
        private: Mapping[str, str] | None = None,
        tracing: Tracing | None = None,
        labels: ModelLabels | None = None,
    ):
        self.models = models
        self.labels: ModelLabels = labels or ModelLabels()
        self.metrics = metrics
        self.tracing: Tracing = tracing or Tracing()
        self._private = dict(private or {})
        self.threads: ThreadPoolExecutor = ThreadPoolExecutor(at_once, thread_name_prefix="request")
        self._lock = Lock()

    def with_models(self, models: Models, private: Mapping[str, str], labels: ModelLabels) -> "Engine":
        """Return an engine around other models, with the threads and figures of this one."""
        made = copy(self)
        made.models, made.labels, made._private = models, labels, dict(private)
        return made

    def turn(
        self, planner: Planner, turn: Turn, settings: Settings, task: str = TEXT_TO_IMAGE, **options: Any
    ) -> "RunningTurn":
        """Return a turn that is ready to be started.

        Args:
            task: What the pipeline is needed for.
            options: Of `RunningTurn`.

        Raises:
            UserError: The pipeline cannot do its task.
        """
        self.painter(task)  # made once, or refused before anything is begun
        return RunningTurn(self, planner, turn, settings, **options)

    def painter(self, task: str) -> Any:
        """Return the pipeline for a task.

        Raises:
            UserError: The pipeline cannot do its task.
        """
        with self._lock:
            return for_task(self.models.pipeline, task)

    @property
    def is_instructed(self) -> bool:
        """Whether pictures are changed as a request says it, without a language model that describes them."""
        with self._lock:
            return is_instructed(self.models.pipeline)

    def public(self, message: str) -> str:
        """Return a sentence of ours as clients may read it: our folders by their last part, flags as fields."""
        for private, name in self._private.items():
            message = message.replace(private, name)
        return FLAG.sub(lambda flag: FIELDS.get(flag[1], flag[1].replace("-", "_")), message)

    def close(self) -> None:
        """Wait for what is at work."""
        self.threads.shutdown()
        self.tracing.close()


class RunningTurn:
    """One turn of an assistant in a thread; its events are read, and it is cancelled, from the event loop.

    Args:
        conversation: What was said before the turn.
        insist: The answer has to hold a picture; where the language model asks for none, its words are painted.
        done: Called in the thread when all has gone well, before the last event is seen.

    Attributes:
        model: Which answers: the language model, or the painter alone.
        steps_after_disconnect: Denoising steps that were finished although nobody waited for them any more.
    """

    def __init__(
        self,
        engine: Engine,
        planner: Planner,
        turn: Turn,
        settings: Settings,
        *,
        conversation: Conversation | None = None,
        insist: bool = False,
        done: Callable[[], None] | None = None,
    ):
        self.engine = engine
        self.input = turn
        self.insist = insist
        self.done = done
        models = engine.models
        pipeline = CountedPipeline(with_own_sampler(models.pipeline), models.lock, models.batch, turn=self)
        self.assistant: Assistant = models.around(planner, pipeline, settings, models.marks)
        if conversation is not None:
            self.assistant.session = replace(self.assistant.session, conversation=conversation)
        passed_through = isinstance(planner, PassthroughPlanner)
        self.model: str = engine.labels.painter if passed_through else engine.labels.language
        self._cancelled = Event()
        self._told_aside: Callable[[], None] | None = None
        self._first: AssistantEvent | None = None
        self.steps_after_disconnect = 0

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._cancelled.is_set()

    def step_aside(self) -> None:
        """Give the place at work to another one's words while a picture is waited for; from any thread."""
        if self._told_aside is not None:
            self._loop.call_soon_threadsafe(self._told_aside)

    def cancel(self) -> None:
        """End within one token or one step; from any thread."""
        self._cancelled.set()
        self.assistant.cancel()

    def start(
        self, ended: Callable[[], None], step_aside: Callable[[], None] | None = None, client: str | None = None
    ) -> None:
        """Begin the work.

        Args:
            ended: Called on the event loop when the work has come to its end.
            step_aside: Called on the event loop when a picture is to be painted, each time.
            client: Under whose name it waits for the painter.
        """
        loop = asyncio.get_running_loop()
        self.assistant.pipeline = cast(CountedPipeline, self.assistant.pipeline).named(client)
        self._loop, self._told_aside = loop, step_aside
        self._events: asyncio.Queue[AssistantEvent | None] = asyncio.Queue()

        def put(event: AssistantEvent) -> None:
            loop.call_soon_threadsafe(self._events.put_nowait, event)

        context = copy_context()  # the log's and the trace's
        self._work = loop.run_in_executor(self.engine.threads, context.run, self._run, put)

        def end(_: asyncio.Future[None]) -> None:
            ended()
            if self.cancelled:
                self.engine.metrics.steps_after_disconnect.observe(self.steps_after_disconnect)
            self._events.put_nowait(None)

        self._work.add_done_callback(end)

    async def _next(self) -> AssistantEvent | None:
        """Return the next event; None after the last one.  What the work raised is raised then."""
        event = await self._events.get()
        if event is None:
            self._work.result()
        return event

    async def first(self) -> AssistantEvent | None:
        """Wait for the first event, which `events` gives, too; None where there is none."""
        self._first = await self._next()
        return self._first

    async def events(self) -> AsyncGenerator[AssistantEvent]:
        """Yield the events, once, after `first`; leaving early cancels the work."""
        event = self._first
        try:
            while event is not None:
                if isinstance(event, PictureReady) and (meter := usage.current()) is not None:
                    meter.count(*event.image.size)
                yield event
                event = await self._next()
        finally:
            if not self._work.done():
                self.cancel()

    def _run(self, put: Callable[[AssistantEvent], None]) -> None:
        latency = LatencyRecorder(self.engine.metrics, self.engine.labels)
        spans = TurnSpans(self.engine.tracing)
        try:
            for event in self._answer():
                latency.record(event)
                spans.record(event)
                put(event)
        finally:
            spans.end()
        if self.done is not None and not self.cancelled:
            self.done()

    def _answer(self) -> Iterator[AssistantEvent]:
        if self.insist:
            return insisting(self.assistant, self.input, self._respond)
        return self._respond(self.input)

    def _respond(self, turn: Turn) -> Iterator[AssistantEvent]:
        events = self.assistant.stream(turn)
        if self.cancelled:  # before the assistant began to listen
            self.assistant.cancel()
        return events


@dataclass(frozen=True)
class CountedPipeline(SharedPipeline):
    """The pipeline as one request sees it: its steps and pictures are counted."""

    turn: RunningTurn = field(kw_only=True)

    def __call__(self, prompt: str, *, on_step: OnStep, **options: Any) -> Image.Image:
        metrics, turn = self.turn.engine.metrics, self.turn
        turn.step_aside()
        model = turn.engine.labels.painter

        def counted(step: int, total: int) -> None:
            if step:
                metrics.steps.labels(model).inc()
                turn.steps_after_disconnect += turn.cancelled
            if step or turn.cancelled:  # waiting is no news
                on_step(step, total)

        image = super().__call__(prompt, on_step=counted, **options)
        metrics.pictures.labels(model).inc()
        return image


class LatencyRecorder:
    """Records in the metrics how long the events of one turn were waited for."""

    def __init__(self, metrics: Metrics, labels: ModelLabels):
        self._metrics, self._labels, self._spoke = metrics, labels, False
        self._began = self._asked = time.perf_counter()

    def record(self, event: AssistantEvent) -> None:
        """Take note that an event is there now."""
        now = time.perf_counter()
        if isinstance(event, TextDelta | PromptFound) and not self._spoke:
            self._spoke = True
            self._metrics.first_word_seconds.labels(self._labels.language).observe(now - self._began)
        if isinstance(event, PromptFound):
            self._asked = now
        if isinstance(event, PictureReady):
            self._metrics.picture_seconds.labels(self._labels.painter).observe(now - self._asked)
