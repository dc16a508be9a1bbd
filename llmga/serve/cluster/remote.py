"""A language model, a pipeline and restorers that compute in replicas, under the contracts of those that do it here."""

import hashlib
import pickle
import secrets
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any

from PIL import Image

from llmga.assistant.painting import MeasuredRestorer
from llmga.diffrir.restorers import RESTORERS
from llmga.diffusers.control import Control
from llmga.diffusers.families import TEXT_TO_IMAGE
from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.planner import Cancelled, EndedBy, Planner
from llmga.llava.sampling import Sampling
from llmga.registry import Registry
from llmga.serve.api.prefix_cache import PrefixCache, taught
from llmga.serve.cluster.calls import answer, stream, unavailable
from llmga.serve.cluster.messages import (
    Begun,
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

Handle = Any  # of a deployment
REMEMBERED = 1024  # answers about the pipeline, which are always the same


class RemotePlanner(Planner):
    """The replies of one conversation, all from the replica that has read it before, as long as that is there.

    Args:
        client: whose conversation it is; None for one that will not go on.
        session: by which the replica is found again.
    """

    ended_by: EndedBy

    def __init__(self, handle: Handle, facts: PlannerFacts, client: str | None = None, session: str | None = None):
        self.steers, self.teaching, self.facts = facts.steers, facts.teaching, facts
        self.client = client
        self._handle = handle.options(session_id=session or secrets.token_hex(8))

    @property
    def context_length(self) -> int | None:
        """Tokens that the model reads at once; None where it does not say."""
        return self.facts.context_length

    def count(self, conversation: Conversation) -> tuple[int, int] | None:
        """Tokens that the last answer of a conversation took to read and to write."""
        counted: tuple[int, int] | None = answer(lambda: self._handle.count.remote(conversation))
        return counted

    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Generator[str]:
        """The pieces; where a replica is lost, another one says the same, and what was heard already is left out."""
        sampling = sampling if sampling.seed is not None else replace(sampling, seed=secrets.randbelow(2**32))
        heard = again = ""
        self.ended_by = "caller"
        call = self._handle.options(stream=True).reply.remote
        for item in stream(lambda: call(self.client, conversation, sampling), cancelled):
            if isinstance(item, Begun):
                again = ""
            elif isinstance(item, Ended):
                self.ended_by = item.by
            else:
                again += item
                if not (again.startswith(heard) or heard.startswith(again)):
                    raise unavailable()  # another machine may choose other words
                if piece := again[len(heard) :]:
                    heard = again
                    yield piece


class RemotePrefixCache(PrefixCache):
    """The caches of conversations, which replicas keep; here it is only said which."""

    def __init__(self, handle: Handle, facts: PlannerFacts):
        super().__init__(partial(RemotePlanner, handle, facts), bound=0)
        self.handle, self.facts = handle, facts

    def take(self, client: str, wanted: Conversation) -> tuple[Planner, Conversation]:
        """Return a planner for the conversation, and the conversation with the system text that it knows."""
        planner = RemotePlanner(self.handle, self.facts, client, session_of(client, wanted))
        return planner, taught(wanted, planner.teaching)

    def put(self, client: str, planner: Planner, conversation: Conversation) -> None:
        """Nothing: the replica has kept it."""


def session_of(client: str, conversation: Conversation) -> str:
    """Return what stays the same while a conversation goes on: whose it is, and how it began."""
    first = conversation.messages[0]
    seen = hashlib.sha256(repr((client, conversation.system, first.role, first.text)).encode())
    for image in first.images:
        seen.update(image.tobytes())
    return seen.hexdigest()[:32]


@dataclass
class Answers:
    """What the painter has said of its pipeline; refusals, too."""

    handle: Handle
    _known: OrderedDict[bytes, Any] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def ask(self, *question: Any, **options: Any) -> Any:
        """Return what `PainterReplica.ask` answers.

        Raises:
            UserError: as the pipeline.
        """
        key = pickle.dumps((question, sorted(options.items())))
        with self._lock:
            found = self._known.get(key)
        if found is None:
            found = self._asked(question, options)
            with self._lock:
                self._known[key] = found
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        if isinstance(found, Refused):
            raise UserError(found.message)
        return found

    def _asked(self, question: Sequence[Any], options: dict[str, Any]) -> Any:
        try:
            return answer(lambda: self.handle.ask.remote(*question, **options))
        except UserError as problem:
            return Refused(str(problem))


@dataclass
class RemotePipeline:
    """`pipeline(prompt, image, mask, …) -> image` in some replica of the painter.

    Attributes:
        task: what it is for.
        sampler: a row of `llmga.diffusers.samplers.SAMPLERS`; None is the usual one.
        who: under whose name it waits for its turn.
    """

    handle: Handle
    facts: PainterFacts
    answers: Answers
    task: str = TEXT_TO_IMAGE
    sampler: str | None = None
    who: str | None = None

    @classmethod
    def of(cls, handle: Handle, facts: PainterFacts) -> "RemotePipeline":
        """The pipeline behind a handle."""
        return cls(handle, facts, Answers(handle))

    def own(self) -> "RemotePipeline":
        """Another one, whose sampler can be chosen."""
        return replace(self)

    @property
    def _facts(self) -> TaskFacts:
        found = self.facts.tasks[self.task]
        if isinstance(found, Refused):
            raise UserError(found.message)
        return found

    @property
    def path(self) -> str:
        """Where the weights lie."""
        return self._facts.path

    @property
    def native_size(self) -> tuple[int, int] | None:
        """Width and height that it was made for; None where it does not say."""
        return self._facts.native_size

    @property
    def edits_by(self) -> str:
        """How it changes a picture."""
        return self._facts.edits_by

    def for_task(self, task: str) -> "RemotePipeline":
        """The pipeline for another task.

        Raises:
            UserError: it cannot do that.
        """
        other = replace(self, task=task)
        other._facts  # noqa: B018  (raises)
        return other

    def use_sampler(self, name: str | None) -> None:
        """Sample with that row from now on; None is the usual one."""
        self.sampler = name

    def describe(self, **options: Any) -> dict[str, Any]:
        """What a record says of it; pictures that guide do not matter to that.

        Raises:
            UserError: it cannot paint so.
        """
        if options.get("controls"):
            options["controls"] = _without_images(options["controls"])
        return dict(self.answers.ask(self.task, self.sampler, "describe", **options))

    def controls(self, given: Sequence[Control] | None) -> tuple[Control, ...]:
        """See that pictures can guide it so.

        Raises:
            UserError: they cannot.
        """
        if given:
            self.answers.ask(self.task, self.sampler, "controls", _without_images(given))
        return tuple(given or ())

    def report(self, prompt: str) -> str:
        """How the prompt is cut into chunks."""
        return str(answer(lambda: self.handle.ask.remote(self.task, self.sampler, "report", prompt)))

    def __call__(
        self,
        prompt: str,
        *,
        on_step: Callable[[int, int], None],
        on_preview: Callable[[int, Image.Image], None] | None = None,
        still_wanted: Callable[[], None] | None = None,
        restore: MeasuredRestorer | None = None,
        **options: Any,
    ) -> Image.Image:
        """The picture; where a replica is lost another one paints the same, and steps are not told twice.

        Raises:
            UserError: as the pipeline.
            ApiError: 503 where replica after replica was lost.
        """
        restorer = restore and restore.restorer
        name = restorer.asked if isinstance(restorer, RemoteRestorer) else None
        options["restored"] = restore is not None
        order = PaintOrder(self.task, prompt, self.sampler, name, on_preview is not None, self.who, options)

        def cancelled() -> bool:
            if still_wanted is not None:
                still_wanted()
            return False

        told, painted = 0, None
        call = self.handle.options(stream=True).paint.remote
        with closing(stream(lambda: call(order), cancelled)) as events:
            for event in events:
                match event:
                    case Step(number, total):
                        while told < number:  # steps that are taken fast come together
                            told += 1
                            on_step(told, total)
                    case Preview(step, image) if on_preview is not None and step > told:
                        on_preview(step, image)
                    case Painted():
                        painted = event
        if painted is None:
            raise unavailable()
        if restore is not None:
            restore.seams.extend(painted.seams)
        return painted.image


def _without_images(controls: Sequence[Control]) -> tuple[Control, ...]:
    return tuple(replace(control, image=None) for control in controls)


@dataclass(frozen=True)
class RemoteRestorer:
    """`restorer(image, reference, mask) -> image` in some replica of the painter.

    Attributes:
        __name__: the row that records name.
        asked: the row; None is the painter's own.
        scale: how many times it enlarges.
    """

    handle: Handle = field(repr=False)
    __name__: str
    asked: str | None = None
    scale: int = 1

    @property
    def rows(self) -> Registry["RemoteRestorer"]:
        """All that may take its place, by their names."""
        scales = {name: getattr(row, "scale", 1) for name, row in RESTORERS.items()}
        rows = {name: RemoteRestorer(self.handle, name, name, scale) for name, scale in scales.items()}
        return Registry("restorer", rows)

    def __call__(
        self, image: Image.Image, reference: Image.Image | None = None, mask: Image.Image | None = None
    ) -> Image.Image:
        result: Image.Image = answer(lambda: self.handle.restore.remote(self.asked, self.scale, image, reference, mask))
        return result
