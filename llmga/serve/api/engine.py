"""One set of models, many requests: each is an assistant of its own that answers one turn in a thread."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any

from PIL import Image

from llmga.assistant.events import AssistantEvent, Failed, PictureReady, PromptFound, TextDelta
from llmga.assistant.loading import Models
from llmga.assistant.session import Turn
from llmga.assistant.settings import SETTINGS, Settings
from llmga.assistant.shared_pipeline import SharedPipeline
from llmga.diffusers.components import for_task
from llmga.diffusers.families import TEXT_TO_IMAGE
from llmga.diffusers.pipeline import OnStep
from llmga.llava.conversation import Conversation
from llmga.llava.planner import Planner
from llmga.serve.api.metrics import Metrics
from llmga.serve.api.verbatim import Verbatim

_DONE = object()
FLAG = re.compile(r"--([a-z][\w-]+)")
FIELDS = {row.flag: row.request for row in SETTINGS.values() if row.flag and row.request}


class Engine:
    """The models, and what requests share of them.

    Args:
        models: loaded once; nothing of a request is kept in them.
        private: what no answer may hold, with what stands for it.
        at_once: how many requests are at work at the same time.  Words are written side by side, pictures are painted
            one after the other.
    """

    def __init__(
        self,
        models: Models,
        at_once: int,
        metrics: Metrics,
        private: Mapping[str, str] | None = None,
    ):
        self.models, self.metrics = models, metrics
        self._private = dict(private or {})
        self.threads = ThreadPoolExecutor(at_once, thread_name_prefix="request")
        self._lock = Lock()

    def job(self, chat: Planner, turn: Turn, settings: Settings, task: str = TEXT_TO_IMAGE, **options: Any) -> "Job":
        """A request, ready to begin.  Raises: UserError where the pipeline cannot do its task."""
        with self._lock:
            for_task(self.models.pipeline, task)  # made once, or refused before anything is begun
        return Job(self, chat, turn, settings, **options)

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
        conversation: what was said before the turn.
        insist: the answer has to hold a picture; where the language model asks for none, its words are painted.
        done: called in the thread when all has gone well, before the last event is seen.
    """

    def __init__(
        self,
        engine: Engine,
        chat: Planner,
        turn: Turn,
        settings: Settings,
        *,
        conversation: Conversation | None = None,
        insist: bool = False,
        done: Callable[[], None] | None = None,
    ):
        self.engine, self.turn, self.insist, self.done = engine, turn, insist, done
        models = engine.models
        self.assistant = models.around(
            chat, CountedPipeline(models.pipeline, models.lock, self), settings, models.marks
        )
        if conversation is not None:
            self.assistant.session = replace(self.assistant.session, conversation=conversation)
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

        def put(event: AssistantEvent) -> None:
            loop.call_soon_threadsafe(self._seen.put_nowait, event)

        self._running = loop.run_in_executor(self.engine.threads, self._work, put)
        self._running.add_done_callback(lambda _: self._ended(leave))

    def _ended(self, leave: Callable[[], None]) -> None:
        leave()
        if self.cancelled:
            self.engine.metrics.steps_after_leaving.observe(self.steps_after_leaving)
        self._seen.put_nowait(_DONE)

    async def first(self) -> AssistantEvent | None:
        """Wait for the first event, which `events` gives, too; None where there is none.  Raises what the work did."""
        self._first = await self._seen.get()
        if self._first is _DONE:
            self._running.result()
            return None
        return self._first

    async def events(self) -> AsyncIterator[AssistantEvent]:
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

    def _work(self, put: Callable[[AssistantEvent], None]) -> None:
        clock = Clock(self.engine.metrics)
        for event in self._answers():
            clock.saw(event)
            put(event)
        if self.done is not None and not self.cancelled:
            self.done()

    def _answers(self) -> Iterator[AssistantEvent]:
        words, asked = "", False
        for event in self._answer(self.turn):
            words += event.text if isinstance(event, TextDelta) else ""
            asked |= isinstance(event, PromptFound) or (isinstance(event, Failed) and not event.cut)
            yield event
        if self.insist and not asked and not self.cancelled:
            self.assistant.planner = Verbatim()
            yield from self._answer(Turn(words.strip() or self.turn.text))

    def _answer(self, turn: Turn) -> Iterator[AssistantEvent]:
        events = self.assistant.stream(turn)
        if self.cancelled:  # before the assistant began to listen
            self.assistant.cancel()
        return events


@dataclass(frozen=True)
class CountedPipeline(SharedPipeline):
    """The pipeline as one request sees it: its steps and pictures are counted."""

    job: "Job"

    def __call__(self, prompt: str, *, on_step: OnStep, **options: Any) -> Image.Image:
        metrics, job = self.job.engine.metrics, self.job

        def counted(step: int, total: int) -> None:
            if step:
                metrics.steps.inc()
                job.steps_after_leaving += job.cancelled
            if step or job.cancelled:  # waiting is no news
                on_step(step, total)

        image = super().__call__(prompt, on_step=counted, **options)
        metrics.pictures.inc()
        return image


class Clock:
    """Times the events of one request."""

    def __init__(self, metrics: Metrics):
        self.metrics, self.spoke = metrics, False
        self.began = self.asked = time.perf_counter()

    def saw(self, event: AssistantEvent) -> None:
        """An event is there."""
        now = time.perf_counter()
        if isinstance(event, TextDelta | PromptFound) and not self.spoke:
            self.spoke = True
            self.metrics.first_word_seconds.observe(now - self.began)
        if isinstance(event, PromptFound):
            self.asked = now
        if isinstance(event, PictureReady):
            self.metrics.picture_seconds.observe(now - self.asked)
