"""The one flow from a person's turn to words and pictures.  Front ends only draw its events."""

import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from threading import Event
from typing import Any

from PIL import Image

from llmga.assistant.bounds import UNBOUNDED, Bounds
from llmga.assistant.events import AssistantEvent, Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.painting import Finish, Order, paint, record_of, restorer_of, shelf_mark, upscaler_of
from llmga.assistant.record import ModelMark
from llmga.assistant.safety import NO_GUARD, Guard
from llmga.assistant.session import Exchange, Painting, Region, Settings, State, Turn, shown
from llmga.background import reports_of
from llmga.diffrir.restorers import Restorer
from llmga.diffusers.components import for_task
from llmga.diffusers.families import EDITING, INPAINTING, TEXT_TO_IMAGE
from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.generation_prompt import GenerationPrompt, GenerationPromptParser, Spoken, parse, with_prompt
from llmga.llava.planner import Planner
from llmga.llava.sampling import Sampling
from llmga.plain_text import plain

__all__ = [
    "Assistant", "AssistantEvent", "Denoising", "Exchange", "Failed", "Painting", "PictureReady", "PromptFound",
    "Region", "Settings", "State", "Stopped", "TextDelta", "Turn",
]  # fmt: skip

SIMILAR = "Generate a similar image."  # one of the questions that the language models were trained on


class _Cancelled(Exception):
    """Raised inside the pipeline, in or between its steps, to end a painting."""


class Assistant:
    """One session with one person: a conversation and the pictures it leads to.

    What it answers comes as events: a `UserError` becomes `Failed`, anything else is a defect and is raised; leaving
    the iterator early ends the work.

    Args:
        chat: the conversation, with any planner.
        pipeline: `pipeline(prompt, image, mask, …) -> image`, a row of `llmga.diffusers.pipelines`; turns that need
            a pipeline for another task get one that shares its weights.
        restorer: `restorer(image, reference, mask) -> image` of scale 1; called only where there is a mask.
        models: what the records say about the models in use.
        upscaler: a restorer of scale 2 or 4, for `Settings.upscale`; None takes the one on the shelf.
        guard: what every picture passes before anybody sees it.
        bounds: what one answer may cost.

    Attributes:
        exchanges: the turns that were answered and what came of them, oldest first; replaced, never changed in place.
        settings: may be replaced between answers.
    """

    def __init__(
        self,
        chat: Planner,
        pipeline: Callable[..., Image.Image],
        restorer: Restorer,
        settings: Settings | None = None,
        models: Sequence[ModelMark] = (),
        upscaler: Restorer | None = None,
        guard: Guard = NO_GUARD,
        bounds: Bounds = UNBOUNDED,
    ):
        self.chat, self.pipeline, self.restorer, self.upscaler = chat, pipeline, restorer, upscaler
        self.guard, self.bounds, self.settings = guard, bounds, settings or Settings()
        self.models = tuple(models)
        self.seed = secrets.randbelow(2**32) if self.settings.seed is None else self.settings.seed
        self.turns = self.painted = 0
        self.exchanges: tuple[Exchange, ...] = ()
        self._region: Region | None = None  # the picture at work
        self._words: dict[str, Any] = {}  # how the current answer is sampled
        self._fresh: list[Painting] = []  # what the current answer has painted
        self._spent = 0.0  # and what it cost, see `Bounds.work`
        self._cancelled = Event()

    # What a person can do.

    def respond(self, turn: Turn) -> Iterator[AssistantEvent]:
        """Answer one turn; pictures are painted in the order in which their prompts are closed."""
        return self._started(lambda cancelled: self._exchange(turn, cancelled))

    def retry(self) -> Iterator[AssistantEvent]:
        """Answer the last turn anew: other words, other pictures.  The old answer is forgotten."""
        return self.edit(-1)

    def edit(self, number: int, text: str | None = None) -> Iterator[AssistantEvent]:
        """Answer turn `number` (0 is the first, -1 the last) anew, in other words or not; what followed is forgotten.

        An edit that fails before its first word leaves everything as it was.
        """
        return self._started(lambda cancelled: self._edit(number, text, cancelled))

    def repaint(
        self, number: int = -1, painting: int = -1, *, prompt: str | None = None, seed: int | None = None
    ) -> Iterator[AssistantEvent]:
        """Paint a picture of turn `number` again: only the picture; nothing is said, and the old one stays.

        Args:
            painting: which of the turn's pictures.
            prompt: what to paint instead; the conversation then has it as if it had been written so.
            seed: None is the session's next one.
        """
        return self._started(lambda cancelled: self._repaint(number, painting, prompt, seed, cancelled))

    def paint(self, number: int, prompt: int, text: str | None = None) -> Iterator[AssistantEvent]:
        """Paint prompt `prompt` (from 0) of turn `number`, in these words if some are given, be it painted or not."""
        return self._started(lambda cancelled: self._paint_prompt(number, prompt, text, cancelled))

    def leave_region(self) -> None:
        """Let the next turn paint whole pictures again."""
        self._region = None

    @property
    def region(self) -> Region | None:
        """The picture at work, which the next turn without pictures goes on with."""
        return self._region

    def repair(self) -> Iterator[AssistantEvent]:
        """Go on with the last answer until it asks for a picture, and paint that."""
        return self._started(self._repair)

    def undo(self) -> Turn:
        """Take the last turn back with all that came of it, and return it.  Raises: UserError when there is none."""
        turn = self.exchanges[self._index(-1)].turn
        self.resume(self.state().before(len(self.exchanges) - 1))
        return turn

    def cancel(self) -> None:
        """End the current answer, from any thread: words within one token, a painting within a part of a step."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the latest answer was ended by `cancel`."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raises: UserError where no answer can be as the settings want it."""
        self.chat.check(self.sampling())
        self._choose_sampler()

    def sampling(self) -> Sampling:
        """How the next answer is sampled.  Raises: UserError for a value out of range."""
        chosen = self.settings
        return Sampling(
            temperature=chosen.temperature,
            top_p=chosen.top_p,
            max_new_tokens=chosen.max_new_tokens,
            seed=self.seed + self.turns,
            picture=chosen.picture,
        )

    def reseed(self, seed: int) -> None:
        """The next picture is painted with this seed, the one after it with seed + 1 …"""
        self.seed, self.painted = seed, 0

    def state(self) -> State:
        """The session as data, to be kept, and resumed here or in another assistant."""
        conversation = self.chat.conversation
        return State(self.seed, self.turns, self.painted, conversation, self.exchanges, self.settings)

    def resume(self, state: State) -> None:
        """Go on from there: the next turn is answered as it would have been then."""
        self.seed, self.turns, self.painted = state.seed, state.turns, state.painted
        self.chat.conversation, self.exchanges, self.settings = state.conversation, state.exchanges, state.settings
        self._region = state.region

    # How an answer comes about.

    def _started(self, events: Callable[[Event], Iterator[AssistantEvent]]) -> Iterator[AssistantEvent]:
        self._cancelled = Event()
        return self._guarded(events, self._cancelled)

    def _guarded(
        self, events: Callable[[Event], Iterator[AssistantEvent]], cancelled: Event
    ) -> Iterator[AssistantEvent]:
        self._fresh, self._spent = [], 0.0
        try:
            yield from events(cancelled)
        except UserError as problem:
            yield Failed(str(problem))
        if cancelled.is_set():
            yield Stopped()

    def _exchange(self, turn: Turn, cancelled: Event) -> Iterator[AssistantEvent]:
        turn, start, region = _legible(turn), self._said(), self._region
        self.bounds.check_message(turn.text)
        self.bounds.check_settings(self.settings, self.pipeline)
        try:
            yield from self._reply(turn, cancelled)
        finally:
            self.turns += 1
            if self._said() > start:
                done = Exchange(turn, start, self._said(), self._region, tuple(self._fresh))
                self.exchanges = (*self.exchanges, done)
            else:
                self._region = region

    def _edit(self, number: int, text: str | None, cancelled: Event) -> Iterator[AssistantEvent]:
        before = self.state()
        index = self._index(number)
        turn, region = self.exchanges[index].turn, self.exchanges[index].region
        self.resume(before.before(index))
        if region is None:
            self.leave_region()
        try:
            yield from self._exchange(turn if text is None else replace(turn, text=text), cancelled)
        finally:
            if len(self.exchanges) == index:
                self.resume(replace(before, turns=self.turns, painted=self.painted))

    def _repaint(
        self, number: int, which: int, prompt: str | None, seed: int | None, cancelled: Event
    ) -> Iterator[AssistantEvent]:
        index = self._index(number)
        paintings = self.exchanges[index].paintings
        if not -len(paintings) <= which < len(paintings):
            raise UserError(f"picture {which} of that turn does not exist, it has {len(paintings)}; choose another.")
        old = paintings[which]
        wanted = old.record.prompt if prompt is None else plain(prompt).strip()
        yield from self._paint_anew(index, old.number, wanted, old, seed, cancelled, reworded=prompt is not None)

    def _paint_prompt(self, number: int, prompt: int, text: str | None, cancelled: Event) -> Iterator[AssistantEvent]:
        index = self._index(number)
        exchange = self.exchanges[index]
        answer = parse([self.chat.conversation.messages[exchange.end - 1].text])
        written = [event.text for event in answer if isinstance(event, GenerationPrompt)]
        if not 0 <= prompt < len(written):
            raise UserError(f"prompt {prompt} does not exist, the answer has {len(written)}; choose another.")
        old = next((each for each in reversed(exchange.paintings) if each.number == prompt), None)
        wanted = written[prompt] if text is None else plain(text).strip()
        yield from self._paint_anew(index, prompt, wanted, old, None, cancelled, reworded=wanted != written[prompt])

    def _paint_anew(
        self,
        index: int,
        number: int,
        wanted: str,
        old: Painting | None,
        seed: int | None,
        cancelled: Event,
        *,
        reworded: bool,
    ) -> Iterator[AssistantEvent]:
        """Paint a prompt of an earlier answer, as the old painting of it was asked for if there is one."""
        exchange, conversation = self.exchanges[index], self.chat.conversation
        if reworded:
            conversation = _reworded(conversation, exchange.end - 1, number, wanted)
        if old is not None:
            self._words = dict(old.record.words)
        request, region = (old.record.request, old.region) if old else (exchange.turn.text, exchange.region)
        try:
            yield from self._picture(wanted, request, region, number, cancelled, seed)
        finally:
            if self._fresh:
                self.chat.conversation = conversation
                self._add_paintings(index)

    def _repair(self, cancelled: Event) -> Iterator[AssistantEvent]:
        repair = getattr(self.chat, "repair", None)
        if repair is None:
            raise UserError("an answer can be repaired where one of our own models gave it; ask again instead.")
        index = self._index(-1)
        exchange, parser = self.exchanges[index], GenerationPromptParser()
        begun = self.chat.conversation.messages[exchange.end - 1].text
        list(parser.feed(begun))  # said already
        before = self.chat.conversation
        self.turns += 1
        try:
            pieces = repair(self._sampling(), cancelled.is_set)
            yield from self._told(parser, pieces, exchange.turn, exchange.region, cancelled)
        finally:
            self._add_paintings(index)
        if self.chat.conversation is before:
            raise UserError("the last answer asks for a picture already, so there is nothing to repair; retry instead.")

    def _reply(self, turn: Turn, cancelled: Event) -> Iterator[AssistantEvent]:
        if turn.images or turn.mask is not None or turn.outpaint is not None:
            turn = self._taken_up(turn, cancelled)
        pieces = self.chat.say(turn.text, images=turn.images, sampling=self._sampling(), cancelled=cancelled.is_set)
        yield from self._told(GenerationPromptParser(), pieces, turn, self._region, cancelled)
        if self.chat.ended_by == "limit":
            yield Failed(
                f"the answer was cut at the token limit (--max-new-tokens {self.settings.max_new_tokens}); "
                "raise it, or start anew where the conversation has become long.",
                cut=True,
            )

    def _told(
        self,
        parser: GenerationPromptParser,
        pieces: Iterator[str],
        turn: Turn,
        region: Region | None,
        cancelled: Event,
    ) -> Iterator[AssistantEvent]:
        """What an answer says, and the pictures that it asks for."""
        with closing(pieces):
            for event in parse(pieces, parser):
                if cancelled.is_set():
                    continue  # the chat ends by itself at its next token and keeps its history whole
                if isinstance(event, Spoken):
                    yield TextDelta(event.text)
                elif isinstance(event, GenerationPrompt):
                    for _ in range(self.settings.versions):
                        yield from self._picture(event.text, turn.text, region, parser.found - 1, cancelled)

    def _taken_up(self, turn: Turn, cancelled: Event) -> Turn:
        """Remember the picture to work on; the turn as the language model is to see it."""
        chosen = self.settings
        changes = dict(chosen.repaint) if chosen.edit is None else {**chosen.edit, "source_prompt": ""}
        self._region = Region.of(turn, changes)
        seen = replace(turn, images=tuple(shown(image) for image in turn.images))
        if self._region is not None:
            return replace(seen, images=(self._region.shown(), *seen.images[1:]))
        if chosen.edit is None:
            return seen
        changes["source_prompt"] = self._description(seen, cancelled)
        self._region = Region(turn.images[0], None, changes, turn.images[0])
        return replace(seen, images=())  # the conversation has them already

    def _description(self, turn: Turn, cancelled: Event) -> str:
        """The prompt with which the language model would paint the turn's picture; the person sees nothing of it."""
        pieces = self.chat.say(SIMILAR, images=turn.images, sampling=self._sampling(), cancelled=cancelled.is_set)
        with closing(pieces):
            events = list(parse(pieces))
        prompts = [event.text for event in events if isinstance(event, GenerationPrompt)]
        return prompts[0] if prompts else "".join(event.text for event in events if isinstance(event, Spoken)).strip()

    def _sampling(self) -> Sampling:
        sampling = self.sampling()
        self._words = asdict(sampling)
        return sampling

    def _picture(
        self,
        prompt: str,
        request: str,
        region: Region | None,
        number: int,
        cancelled: Event,
        seed: int | None = None,
    ) -> Iterator[AssistantEvent]:
        """A pipeline's `UserError` ends this picture only: words and further pictures of the reply go on."""
        if cancelled.is_set():
            return
        report = getattr(self.pipeline, "report", None)
        yield PromptFound(prompt, str(report(prompt)) if report else "")
        if not self.settings.paint:
            return
        order = Order.of(prompt, self.seed + self.painted if seed is None else seed, region, self.settings)
        try:
            pipeline, finish = self._painter(region), self._finish()
            self._spent = self.bounds.check_order(order, self.settings.upscale or 1, pipeline, self._spent)
            image = self.guard((yield from self._paint(pipeline, order, finish, cancelled)))
        except _Cancelled:
            return
        except UserError as problem:
            yield Failed(str(problem))
            return
        marks, words = self._took_part(pipeline), dict(self._words)
        record = record_of(pipeline, order, finish, image, request=request, words=words, models=marks)
        self.painted += 1
        self._fresh.append(Painting(image, record, region, number))
        yield PictureReady(image, record)

    def _took_part(self, pipeline: Callable[..., Image.Image]) -> tuple[ModelMark, ...]:
        """The models behind a picture: of pipeline and inpainter only the one that painted it, and the restorers
        that were chosen meanwhile in place of those that the assistant was made with."""
        idle = "inpainter" if _path(pipeline) == _path(self.pipeline) else "painter"
        chosen = {mark.role: mark for mark in self._chosen_marks()}
        marks = [mark for mark in self.models if mark.role not in (idle, *chosen)] + list(chosen.values())
        return tuple(replace(mark, role="painter") if mark.role == "inpainter" else mark for mark in marks)

    def _chosen_marks(self) -> Iterator[ModelMark]:
        restorer, upscale = self.settings.restorer, self.settings.upscale
        if restorer and (mark := shelf_mark("restorer", restorer)):
            yield mark
        if upscale and getattr(self.upscaler, "scale", None) != upscale:
            yield shelf_mark("upscaler", f"diffrir-x{upscale}")

    def _painter(self, region: Region | None) -> Callable[..., Image.Image]:
        """The pipeline, or one for the task that shares its weights."""
        self._choose_sampler()
        if region is None:
            return for_task(self.pipeline, TEXT_TO_IMAGE)
        return for_task(self.pipeline, INPAINTING if "source_prompt" not in region.changes else EDITING)

    def _choose_sampler(self) -> None:
        """A pipeline may serve several sessions, one after the other.  Raises: UserError."""
        if hasattr(self.pipeline, "use_sampler"):
            self.pipeline.use_sampler(self.settings.sampler)

    def _finish(self) -> Finish:
        chosen = self.settings
        return Finish(restorer_of(chosen.restorer, self.restorer), upscaler_of(chosen.upscale, self.upscaler))

    def _paint(
        self, pipeline: Callable[..., Image.Image], order: Order, finish: Finish, cancelled: Event
    ) -> Generator[Denoising, None, Image.Image]:
        latest: list[Image.Image] = []

        def still_wanted() -> None:
            if cancelled.is_set():
                raise _Cancelled

        def work(report: Callable[[Denoising], None]) -> Image.Image:
            def on_step(step: int, total: int) -> None:
                still_wanted()
                report(Denoising(step, total, latest.pop() if latest else None))

            previews = self.settings.previews and self.guard.unsafe is None
            seen = (lambda step, small: latest.append(small)) if previews else None
            return paint(pipeline, order, finish, on_step, seen, still_wanted)

        return (yield from reports_of(work, cancelled.set))

    # The history.

    def _said(self) -> int:
        return len(self.chat.conversation.messages)

    def _index(self, number: int) -> int:
        """A turn's place in `exchanges`.  Raises: UserError when it does not exist."""
        count = len(self.exchanges)
        if not count:
            raise UserError("nothing was answered yet in this session; say something first.")
        if not -count <= number < count:
            raise UserError(f"turn {number} does not exist, the session has {count}; use 0 to {count - 1}.")
        return number % count

    def _add_paintings(self, index: int) -> None:
        """What was just painted belongs to an earlier turn."""
        exchange = self.exchanges[index]
        more = replace(exchange, paintings=(*exchange.paintings, *self._fresh))
        self.exchanges = (*self.exchanges[:index], more, *self.exchanges[index + 1 :])


def _path(pipeline: Callable[..., Image.Image]) -> str | None:
    return getattr(pipeline, "path", None)


def _legible(turn: Turn) -> Turn:
    """The turn without control characters.  Raises: UserError when there is nothing in it."""
    text = plain(turn.text)
    given = turn.images or turn.mask is not None or turn.outpaint is not None
    if not given and not text.replace(IMAGE_MARKER, "").strip():
        raise UserError("the message says nothing; write what you want to see, or give a picture.")
    return replace(turn, text=text)


def _reworded(conversation: Conversation, message: int, number: int, prompt: str) -> Conversation:
    """The conversation as if prompt `number` of that answer had been another.  Raises: UserError for an empty one."""
    messages = list(conversation.messages)
    messages[message] = replace(messages[message], text=with_prompt(messages[message].text, number, prompt))
    return replace(conversation, messages=tuple(messages))
