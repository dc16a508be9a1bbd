"""A session with one person: `Assistant.stream` leads from what is said to words and pictures.  Front ends draw it."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Lock, get_ident
from typing import Any, NoReturn

from PIL import Image

from llmga.assistant import repainting
from llmga.assistant.answer import Answer
from llmga.assistant.bounds import UNBOUNDED, Bounds
from llmga.assistant.events import AssistantEvent, Failed, Reply, Stopped
from llmga.assistant.painting import check_clip_skip, check_guides, choose_sampler, is_instructed
from llmga.assistant.record import ModelMark
from llmga.assistant.safety import NO_GUARD, Guard
from llmga.assistant.session import Exchange, Region, Session, Turn, shown
from llmga.assistant.session_file import SavedSession
from llmga.assistant.settings import ASKED_SEED, Settings, settings_given
from llmga.diffrir.restorers import Restorer
from llmga.diffusers.families import EDITING
from llmga.errors import UserError
from llmga.inputs import Picture, Pictures
from llmga.llava.generation_prompt import GenerationPrompt, Spoken, parse
from llmga.llava.planner import Dialogue, Planner, ask
from llmga.llava.sampling import Sampling

SIMILAR = "Generate a similar image."  # one of the questions that the language models were trained on


class Assistant:
    """One session with one person: a conversation and the pictures it leads to.

    What it answers comes as events: a `UserError` becomes `Failed`, anything else is a defect and is raised; leaving
    the iterator early ends the work.  It answers one thread at a time; `cancel` is for any.

    Args:
        planner: who answers and plans the pictures.
        pipeline: `pipeline(prompt, image, mask, …) -> image`, a row of `llmga.diffusers.pipelines`; turns that need
            a pipeline for another task get one that shares its weights.
        restorer: `restorer(image, reference, mask) -> image` of scale 1; called only where there is a mask.
        settings: how answers are given; None is `Settings()`.
        models: what the records say about the models in use.
        upscaler: a restorer of scale 2 or 4, for `Settings.upscale`; None takes the one in the model directory.
        guard: what every picture passes before anybody sees it.
        bounds: what one answer may cost.

    Attributes:
        session: all that was said and painted, and the settings; replaced, never changed in place.  Setting it goes on
            from there: the next turn is answered as it would have been then.
        region: the picture at work, which the next turn without pictures goes on with.
    """

    def __init__(
        self,
        planner: Planner,
        pipeline: Callable[..., Image.Image],
        restorer: Restorer,
        settings: Settings | None = None,
        models: Sequence[ModelMark] = (),
        upscaler: Restorer | None = None,
        guard: Guard = NO_GUARD,
        bounds: Bounds = UNBOUNDED,
    ):
        self.planner = planner
        self.pipeline = pipeline
        self.restorer = restorer
        self.upscaler = upscaler
        self.guard = guard
        self.bounds = bounds
        self.models: tuple[ModelMark, ...] = tuple(models)
        chosen = settings_given(settings)
        self.session = Session(secrets.randbelow(2**32) if chosen.seed is None else chosen.seed, settings=chosen)
        self._cancelled = Event()  # of the latest answer
        self._threads: list[int] = []  # one for each answer that is under way
        self._lock = Lock()  # of that list

    def __repr__(self) -> str:
        models = ", ".join(f"{mark.role} {mark.name!r}" for mark in self.models) or "unnamed models"
        return f"<Assistant of {models}; turns: {len(self.exchanges)}>"

    def __reduce__(self) -> NoReturn:
        """Raises: UserError where it is copied or pickled."""
        raise UserError("an assistant holds loaded models and is not copied or pickled; keep its session, and set that "
                        "in an assistant made anew.")  # fmt: skip

    @property
    def session(self) -> Session:
        """The session as data, to be kept, and gone on with here or in another assistant."""
        return self._session

    @session.setter
    def session(self, given: Session | SavedSession) -> None:
        session = given.session if isinstance(given, SavedSession) else given
        if not isinstance(session, Session):
            raise UserError(f"the session is of type {type(given).__name__}; give what load_session returns.")
        settings_given(session.settings)
        self._session, self.region = session, session.region

    @property
    def settings(self) -> Settings:
        """How the next answer is given; may be replaced between answers.

        Every value is checked then, and another seed is the one of the next picture, as with `reseed`.
        """
        return self._session.settings

    @settings.setter
    def settings(self, chosen: Settings) -> None:
        chosen = settings_given(chosen)
        if chosen.seed not in (None, self.settings.seed):
            self.reseed(chosen.seed)
        self._keep(settings=chosen)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The turns that were answered and what came of them, oldest first."""
        return self._session.exchanges

    # What a person can do.

    def stream(
        self,
        text: str | Turn,
        images: Pictures = (),
        mask: Picture | None = None,
        *,
        outpaint: str | None = None,
        fill: str = "edge",
    ) -> Iterator[AssistantEvent]:
        """Answer one turn as its events are read; pictures are painted in the order in which their prompts are closed.

        Args:
            text: the words; or the whole `Turn`, and nothing else is given.
            images: one picture or several that come with the words; the first is the one to change.  Each is a Pillow
                image of any mode and size, the path of a file, or an array.
            mask: same size as the first picture, white (or, where anything in it is transparent, transparent) where it
                is to be painted anew; later turns without pictures repaint the same part.
            outpaint: how the first picture is to grow, such as "left=25%", "aspect=16:9" or "size=1024x768".
            fill: what is under the grown part, a row of `llmga.diffusers.canvas.FILLS`.

        Yields:
            Events: see `llmga.assistant.events`.
        """

        def events(answer: Answer) -> Iterator[AssistantEvent]:
            turn = text if isinstance(text, Turn) else Turn.of(text, images, mask, outpaint, fill)
            return self._stream(turn, answer)

        return self._begin(events)

    def say(
        self,
        text: str | Turn,
        images: Pictures = (),
        mask: Picture | None = None,
        *,
        outpaint: str | None = None,
        fill: str = "edge",
    ) -> Reply:
        """Answer one turn to its end; arguments as `stream` takes them.

        Returns:
            What was said, and the pictures with their records.

        Raises:
            UserError: where the answer or a picture failed; what was done until then is in `session`.
        """
        return Reply.of(self.stream(text, images, mask, outpaint=outpaint, fill=fill))

    def retry(self) -> Iterator[AssistantEvent]:
        """Answer the last turn anew: other words, other pictures.  The old answer is forgotten.

        Done as its events are read; `Reply.of` reads them to the end.
        """
        return self.edit(-1)

    def edit(self, number: int, text: str | None = None) -> Iterator[AssistantEvent]:
        """Answer turn `number` (0 is the first, -1 the last) anew, in other words or not; what followed is forgotten.

        An edit that fails before its first word leaves everything as it was.
        Done as its events are read; `Reply.of` reads them to the end.
        """
        return self._begin(lambda answer: self._edit(number, text, answer))

    def repaint(
        self, number: int = -1, painting: int = -1, *, prompt: str | None = None, seed: int | None = None
    ) -> Iterator[AssistantEvent]:
        """Paint a picture of turn `number` again: only the picture; nothing is said, and the old one stays.

        Done as its events are read; `Reply.of` reads them to the end.

        Args:
            painting: which of the turn's pictures.
            prompt: what to paint instead; the conversation then has it as if it had been written so.
            seed: 0 to 4294967295; None is the session's next one.
        """
        return self._begin(lambda answer: repainting.repaint(answer, number, painting, prompt, seed))

    def paint(self, number: int, prompt: int, text: str | None = None) -> Iterator[AssistantEvent]:
        """Paint prompt `prompt` (from 0) of turn `number`, in these words if some are given, be it painted or not.

        Done as its events are read; `Reply.of` reads them to the end.
        """
        return self._begin(lambda answer: repainting.paint_prompt(answer, number, prompt, text))

    def repair(self) -> Iterator[AssistantEvent]:
        """Go on with the last answer until it asks for a picture, and paint that.

        Done as its events are read; `Reply.of` reads them to the end.
        """
        return self._begin(repainting.repair)

    def undo(self) -> Turn:
        """Take the last turn back with all that came of it, at once.

        Returns:
            The turn.

        Raises:
            UserError: when there is none, or another thread is being answered.
        """
        self._check_thread()
        index = self.session.index(-1)
        turn = self.exchanges[index].turn
        self.session = self.session.before(index)
        return turn

    def leave_region(self) -> None:
        """Let the next turn paint whole pictures again."""
        self.region = None

    def reseed(self, seed: int) -> None:
        """The next picture is painted with this seed, the one after it with seed + 1 …

        Args:
            seed: 0 to 4294967295.

        Raises:
            UserError: it is no such number.
        """
        self._keep(seed=ASKED_SEED.fitting(seed), painted=0)

    def cancel(self) -> None:
        """End the current answer, from any thread: words within one token, a painting within a part of a step."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the latest answer was ended by `cancel`."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """See whether answers can be given as the settings want them.

        Raises:
            UserError: where none can.
        """
        self.planner.check(self.sampling())
        choose_sampler(self.pipeline, self.settings)
        check_guides(self.pipeline, self.settings)
        check_clip_skip(self.pipeline, self.settings)

    def sampling(self) -> Sampling:
        """How the next answer is sampled.

        Raises:
            UserError: for a value out of range.
        """
        chosen = self.settings
        return Sampling(
            temperature=chosen.temperature,
            top_p=chosen.top_p,
            max_new_tokens=chosen.max_new_tokens,
            seed=self.session.seed + self.session.turns,
            picture=chosen.picture,
        )

    # How an answer comes about.

    def _begin(self, events: Callable[[Answer], Iterator[AssistantEvent]]) -> Iterator[AssistantEvent]:
        """Begin an answer: from now on, `cancel` is about it, unless another thread is being answered.

        Args:
            events: what happens in the answer.
        """
        answer = Answer(self, self._keep)
        if not self._answers_another_thread:
            self._cancelled = answer.cancelled
        return self._guarded(events, answer)

    def _guarded(
        self, events: Callable[[Answer], Iterator[AssistantEvent]], answer: Answer
    ) -> Iterator[AssistantEvent]:
        try:
            with self._under_way(answer):
                yield from events(answer)
        except UserError as problem:
            yield Failed(str(problem))
        if answer.cancelled.is_set():
            yield Stopped()

    @contextmanager
    def _under_way(self, answer: Answer) -> Iterator[None]:
        """Raises: UserError where another thread is being answered."""
        with self._lock:
            self._check_thread()
            self._threads.append(thread := get_ident())
            self._cancelled = answer.cancelled
        try:
            yield
        finally:
            self._threads.remove(thread)  # which a collected iterator does from any

    @property
    def _answers_another_thread(self) -> bool:
        return any(thread != get_ident() for thread in self._threads)

    def _check_thread(self) -> None:
        """Raises: UserError where another thread is being answered: models and session are of one answer."""
        if self._answers_another_thread:
            raise UserError("another thread is being answered here; wait for it, or give each thread an assistant.")

    def _stream(self, turn: Turn, answer: Answer) -> Iterator[AssistantEvent]:
        turn, start, region = turn.legible(), len(self.session.conversation.messages), self.region
        before = self.exchanges
        self.bounds.check_message(turn.text)
        self.bounds.check_settings(self.settings, self.pipeline)
        answer.latest = turn.images[0] if turn.images else self.session.latest_picture
        try:
            seen = self._take_up(turn, answer) if turn.shows else turn
            asked = ask(self.session.conversation, seen.text, seen.images)
            pieces = self.planner.reply(asked, answer.sampled(), answer.cancelled.is_set)
            for event in answer.follow(asked, "", pieces, seen.text, self.region):
                self._keep_exchange(before, turn, start, answer)  # so that who is killed from here on loses nothing
                yield event
            if self.planner.ended_by == "limit":
                yield Failed(
                    f"the answer was cut at the token limit (--max-new-tokens {self.settings.max_new_tokens}); "
                    "raise it, or start anew where the conversation has become long.",
                    cut=True,
                )
        finally:
            self._keep(turns=self.session.turns + 1)
            if len(self.session.conversation.messages) > start:
                self._go_on_with(answer)
                self._keep_exchange(before, turn, start, answer)
            else:
                self.region = region

    def _keep_exchange(self, before: tuple[Exchange, ...], turn: Turn, start: int, answer: Answer) -> None:
        """Have what came of the turn so far behind the exchanges before it."""
        end = len(self.session.conversation.messages)
        self._keep(exchanges=(*before, Exchange(turn, start, end, self.region, tuple(answer.images))))

    def _go_on_with(self, answer: Answer) -> None:
        """Let a picture that was changed as a person said be the one that the next instruction is about."""
        region = self.region
        if region is None or region.mask is not None or not answer.images:
            return
        if region.pipeline_task == EDITING and is_instructed(self.pipeline):
            latest = answer.images[-1].image
            self.region = replace(region, picture=latest, parent=latest)

    def _take_up(self, turn: Turn, answer: Answer) -> Turn:
        """Remember the picture to work on; the turn as the language model is to see it."""
        chosen = self.settings
        self.region = Region.of(turn, chosen.changes)
        seen = replace(turn, images=tuple(shown(image) for image in turn.images))
        if self.region is not None:
            return replace(seen, images=(self.region.shown(), *seen.images[1:]))
        if chosen.edit is None:
            return seen
        if is_instructed(self.pipeline):
            self.region = Region(turn.images[0], None, chosen.changes, turn.images[0])
            return seen
        seen, source = self._described(seen, answer)
        self.region = Region(turn.images[0], None, {**chosen.changes, "source_prompt": source}, turn.images[0])
        return seen

    def _described(self, turn: Turn, answer: Answer) -> tuple[Turn, str]:
        """The turn without its pictures, which the conversation has then, and the prompt with which the language model
        would paint them; the person sees nothing of it."""
        dialogue = Dialogue(self.planner, self.session.conversation)
        events = list(parse(dialogue.say(SIMILAR, turn.images, answer.sampled(), answer.cancelled.is_set)))
        self._keep(conversation=dialogue.conversation)
        prompts = [event.text for event in events if isinstance(event, GenerationPrompt)]
        words = "".join(event.text for event in events if isinstance(event, Spoken)).strip()
        return replace(turn, images=()), prompts[0] if prompts else words

    def _edit(self, number: int, text: str | None, answer: Answer) -> Iterator[AssistantEvent]:
        before = self.session
        index = before.index(number)
        turn, region = before.exchanges[index].turn, before.exchanges[index].region
        self.session = before.before(index)
        if region is None:
            self.leave_region()
        try:
            yield from self._stream(turn if text is None else replace(turn, text=text), answer)
        finally:
            if len(self.exchanges) == index:
                self.session = replace(before, turns=self.session.turns, painted=self.session.painted)

    def _keep(self, **changed: Any) -> None:
        """Change parts of the session; the picture at work stays."""
        self._session = replace(self._session, **changed)
