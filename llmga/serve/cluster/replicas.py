"""The two kinds of replicas that hold models: one plans, one paints.  Nothing here knows Ray."""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

from PIL import Image

from llmga.assistant.loading import Models
from llmga.assistant.painting import MeasuredRestorer, restorer_of, upscaler_of
from llmga.assistant.record import ModelMark
from llmga.assistant.shared_pipeline import SharedPipeline
from llmga.diffrir.restorers import restorer_name
from llmga.diffusers.components import for_task
from llmga.diffusers.families import DIFFERENCE, EDITING, INPAINTING, TEXT_TO_IMAGE
from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.loading import NewChat
from llmga.llava.planner import answered
from llmga.llava.sampling import Sampling
from llmga.seams import Seam
from llmga.serve.api.prefix_cache import PrefixCache
from llmga.serve.cluster.messages import (
    Ended,
    Painted,
    PainterFacts,
    PaintOrder,
    PlannerFacts,
    Preview,
    Refused,
    Step,
    TaskFacts,
)
from llmga.serve.cluster.working import Report, Workshop

TASKS = (TEXT_TO_IMAGE, INPAINTING, EDITING)
TELLING = 0.1  # seconds between two messages of how far a picture is, which travel between processes
ASKED = ("describe", "report", "controls")  # of a pipeline, what the application may ask


@dataclass(frozen=True)
class Words:
    """A language model that is loaded.

    Attributes:
        warm_chats: how many conversations are kept warm.
    """

    new_chat: NewChat
    marks: tuple[ModelMark, ...]
    warm_chats: int


class Source(Protocol):
    """Where replicas get their models from; it travels to them, so that it holds none."""

    def words(self) -> Words:
        """Load the language model."""

    def painter(self) -> Models:
        """Load whatever is needed to paint."""


class PlannerReplica:
    """A language model in a process of its own, with the caches of the conversations that come here."""

    def __init__(self, source: Source):
        words = source.words()
        self.marks = words.marks
        self.cache = PrefixCache(words.new_chat, words.warm_chats)
        self.work = Workshop()

    async def facts(self) -> PlannerFacts:
        """Return what the application has to know."""
        chat = self.cache.new_chat()
        return PlannerFacts(chat.steers, chat.teaching, chat.context_length, self.marks)

    async def reply(self, client: str | None, asked: Conversation, sampling: Sampling) -> AsyncGenerator[Any]:
        """Yield the pieces of the reply to a conversation, and `Ended`.

        Args:
            client: whose conversations may be gone on with; None for one that will not go on.
        """

        def work(report: Report, cancelled: Event) -> None:
            planner, known = (self.cache.new_chat(), asked) if client is None else self.cache.warm(client, asked)
            said = ""
            for piece in planner.reply(known, sampling, cancelled.is_set):
                said += piece
                report(piece)
            if client is not None and not cancelled.is_set():
                self.cache.put(client, planner, answered(known, said, whole=True))
            report(Ended(planner.ended_by))

        async for item in self.work.stream(work):
            yield item

    async def count(self, conversation: Conversation) -> tuple[int, int] | None | Refused:
        """Return the tokens of the last answer; see `llmga.llava.planner.Planner.count`."""
        return await self.work.answer(lambda: self.cache.new_chat().count(conversation))

    async def check_health(self) -> None:
        """Raises: RuntimeError where the replica should be started anew."""
        self.work.check()


class PainterReplica:
    """A pipeline in a process of its own, with whatever is done to a picture by a network."""

    def __init__(self, source: Source):
        self.models = source.painter()
        self.work = Workshop()

    async def facts(self) -> PainterFacts:
        """Return what the application has to know."""
        models = self.models
        return PainterFacts(
            {task: self._task_facts(task) for task in TASKS},
            models.marks,
            restorer_name(models.restorer),
            getattr(models.upscaler, "scale", None),
            models.guard.unsafe is not None,
        )

    def _task_facts(self, task: str) -> TaskFacts | Refused:
        try:
            pipeline = for_task(self.models.pipeline, task)
        except UserError as problem:
            return Refused(str(problem))
        edits_by = getattr(pipeline, "edits_by", DIFFERENCE)
        return TaskFacts(str(pipeline.path), getattr(pipeline, "native_size", None), edits_by)

    async def paint(self, order: PaintOrder) -> AsyncGenerator[Any]:
        """Yield steps, previews where they are wanted, and at last the picture."""
        async for item in self.work.stream(Painting(self, order)):
            yield item

    async def ask(self, task: str, sampler: str | None, question: str, *args: Any, **options: Any) -> Any:
        """Return what a method of the pipeline for a task returns, one of `ASKED`."""
        if question not in ASKED:
            raise ValueError(f"{question!r} is nothing that a painter is asked")
        return await self.work.answer(lambda: getattr(self.pipeline(task, sampler), question)(*args, **options))

    async def restore(
        self, name: str | None, scale: int, image: Image.Image, reference: Image.Image | None, mask: Image.Image | None
    ) -> Image.Image | Refused:
        """Return the picture restored, or enlarged where `scale` is above 1."""

        def work() -> Image.Image:
            own = self.models
            found = restorer_of(name, own.restorer) if scale == 1 else upscaler_of(scale, own.upscaler)
            assert found is not None  # for a scale there is one, or a UserError
            return found(image, reference, mask)

        return await self.work.answer(work)

    async def unsafe(self, image: Image.Image) -> bool | Refused:
        """Return whether the safety checker objects to a picture."""
        checker = self.models.guard.unsafe
        return False if checker is None else await self.work.answer(lambda: checker(image))

    async def check_health(self) -> None:
        """Raises: RuntimeError where the replica should be started anew."""
        self.work.check()

    def pipeline(self, task: str, sampler: str | None) -> SharedPipeline:
        """The pipeline for a task and one request, with a sampler of its own."""
        own = SharedPipeline.of(self.models.pipeline, self.models.lock, self.models.batch)
        own.use_sampler(sampler)
        return own.for_task(task)


@dataclass
class Painting:
    """The work of one order in a thread."""

    replica: PainterReplica
    order: PaintOrder
    seams: list[tuple[Seam, Seam]] = field(default_factory=list)

    def __call__(self, report: Report, cancelled: Event) -> None:
        """Paint it; reports steps, previews and the picture."""
        order, replica, told = self.order, self.replica, -TELLING

        def still_wanted() -> None:
            if cancelled.is_set():
                raise NotWanted

        def on_step(step: int, total: int) -> None:
            nonlocal told
            still_wanted()
            now = time.monotonic()
            # Waiting is no news.  A preview belongs to its step, and whoever listens should hear of the first and last.
            if step and (order.previews or step in (1, total) or now - told >= TELLING):
                told = now
                report(Step(step, total))

        options = dict(order.options)
        if options.pop("restored", False):
            options["restore"] = MeasuredRestorer(restorer_of(order.restorer, replica.models.restorer), self.seams)
        if order.previews:
            options["on_preview"] = lambda step, image: report(Preview(step, image))
        try:
            pipeline = replica.pipeline(order.task, order.sampler)
            pipeline = pipeline if order.who is None else pipeline.named(order.who)
            image = pipeline(order.prompt, on_step=on_step, still_wanted=still_wanted, **options)
        except NotWanted:
            return
        report(Painted(image, self.seams))


class NotWanted(Exception):
    """Raised inside the pipeline to end a painting."""
