"""One person's visit: the session, what is shown of it, and what the next message is about."""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from PIL import Image

from llmga.assistant.assistant import SIMILAR, Assistant
from llmga.assistant.events import AssistantEvent, Stopped
from llmga.assistant.session import Exchange, Turn
from llmga.assistant.session_file import differences, load_session, save_session
from llmga.assistant.shared_pipeline import FairLock
from llmga.errors import UserError
from llmga.serve.page.controls import Chosen
from llmga.serve.page.drawing import Entry, Mark, Shown
from llmga.serve.page.live import Live
from llmga.serve.page.mask_editor import Marks
from llmga.serve.page.pictures import Pictures
from llmga.serve.page.strings import WORDS, Words

LONGEST_MESSAGE = 20_000  # characters; how many tokens a model reads is told by the flow
LOOK_AGAIN = 0.5  # seconds between two looks at whether an answer that waits is still wanted
LOOK, CHANGE, REPAINT, REGION = "look", "change", "mark", "region"


@dataclass
class About:
    """What the next message is about: `look`, `change`, `mark`, `region` or nothing, and a picture's number."""

    kind: str = ""
    picture: int | None = None


class UserSession:
    """The state of one browser tab; nothing of it is shared.

    What takes its time is an iterator: the visit looks otherwise after each of its steps.

    Args:
        assistant: a fresh one, for this visit alone.
        folder: an existing folder that the browser may fetch from; the visit's own, unguessable one is made in it.
        language: a key of `WORDS`.
        turns: of all visits; answers are given by whoever holds one.
    """

    def __init__(self, assistant: Assistant, folder: str | Path, language: str = "en", turns: FairLock | None = None):
        self.assistant, self.language = assistant, language
        self.turns = turns or FairLock()
        self.folder = Path(tempfile.mkdtemp(prefix=f"visit-{secrets.token_hex(16)}-", dir=folder))
        self.pictures = Pictures(self.folder)
        self.about = About()
        self.live: Live | None = None
        self._troubles: dict[int, list[str | Mark]] = {}
        self._busy = Lock()
        self._stopped = False

    @property
    def words(self) -> Words:
        return WORDS[self.language]

    def say(self, text: str, images: Sequence[Image.Image], chosen: Chosen, marks: Marks) -> Iterator[None]:
        """Answer a message.  Raises: UserError."""
        if len(text) > (longest := min(LONGEST_MESSAGE, self.assistant.bounds.message)):
            raise UserError(self.words["too long"].format(len(text), longest))
        if not text.strip() and not images:
            raise UserError(self.words["nothing said"])
        turn = self._turn(text.strip(), tuple(images), marks, chosen.fill)
        changes, goes_on = self.about.kind == CHANGE, self.subject().kind == REGION

        def events() -> Iterator[AssistantEvent]:
            if not goes_on:
                self.assistant.leave_region()  # a changed picture is taken up again by its button
            return self.assistant.stream(turn)

        yield from self._answered(turn, chosen, events, changes=changes)

    def similar(self, number: int, chosen: Chosen) -> Iterator[None]:
        """Paint a picture like this one.  Raises: UserError."""
        turn = Turn(SIMILAR, (self.picture(number),))
        yield from self._answered(turn, chosen, lambda: self.assistant.stream(turn))

    def retry(self, chosen: Chosen) -> Iterator[None]:
        """Answer the last message anew.  Raises: UserError when there is none."""
        last = self._last()
        changes = last.region is not None and last.region.mask is None and bool(last.turn.images)
        yield from self._answered(last.turn, chosen, self.assistant.retry, changes=changes, again=True)

    def paint(self, address: str, prompt: str | None, chosen: Chosen) -> Iterator[None]:
        """Paint a prompt, as it is or changed; what was painted before stays.

        Args:
            address: "exchange.prompt", both numbers from 0.

        Raises: UserError.
        """
        exchange, _, number = address.partition(".")
        if not (exchange.isdecimal() and number.isdecimal() and int(exchange) < len(self.assistant.exchanges)):
            raise UserError(self.words["no picture"])
        index, number = int(exchange), int(number)
        with self._alone():
            replace(chosen, settings=replace(chosen.settings, paint=True)).into(self.assistant)
            self.live = Live(self.assistant.exchanges[index].turn, index, repaints=number)
            yield from self._drawn(lambda: self.assistant.paint(index, number, prompt))

    def repaint(self, chosen: Chosen) -> Iterator[None]:
        """Paint the pictures of the last answer that has some again.  Raises: UserError when there is none."""
        painted = [index for index, each in enumerate(self.assistant.exchanges) if each.paintings]
        if not painted:
            raise UserError(self.words["no picture"])
        for number in sorted({each.number for each in self.assistant.exchanges[painted[-1]].paintings}):
            yield from self.paint(f"{painted[-1]}.{number}", None, chosen)
            if self.assistant.cancelled:
                return

    def undo(self) -> str:
        """Take the last turn back; what was said in it.  Raises: UserError when there is none."""
        with self._alone():
            turn = self.live.turn if self.live else self._last().turn
            if self.live is None:
                self.assistant.undo()
            self.live, self.about = None, About()
            self._troubles.pop(len(self.assistant.exchanges), None)
            return turn.text

    def stop(self) -> None:
        """End the current answer, or the wait for it."""
        self._stopped = True
        self.assistant.cancel()

    def take_up(self, kind: str, number: int) -> None:
        """Let the next message be about a picture.  Raises: UserError when there is none."""
        self.picture(number)
        self.about = About(kind, number)

    def drop(self) -> None:
        """Let the next message be about nothing in particular, the region of an earlier one included."""
        self.about = About()
        with self._alone():
            self.assistant.leave_region()

    def save(self) -> Path:
        """The session as a ZIP in the visit's folder.  Raises: UserError."""
        with self._alone():
            return save_session(self.folder / "llmga-session.zip", self.assistant.session, self.assistant.models)

    def load(self, path: str | Path) -> list[str]:
        """Go on with a saved session; what is not as it was where it was saved, in sentences.

        Raises: UserError, and all is as it was.
        """
        with self._alone():
            try:
                saved = load_session(path)
            except UserError as problem:  # where files lie on the server is nobody's business
                raise UserError(str(problem).replace(str(path), Path(path).name)) from None
            self.assistant.bounds.check_conversation(saved.session.conversation)
            self.assistant.session = saved.session
            self.live, self.about, self._troubles = None, About(), {}
            return differences(saved.models, self.assistant.models)

    def go_on_with(self, assistant: Assistant) -> None:
        """The same session with other models.  Raises: UserError while an answer is given."""
        with self._alone():
            assistant.session = self.assistant.session
            self.assistant = assistant

    def close(self) -> None:
        """End all work and remove the files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What is to be seen.

    def entries(self) -> list[Entry]:
        """The conversation; gives its pictures their numbers, in order."""
        state, live = self.assistant.session, self.live
        self.pictures.numbered.clear()
        until = len(state.exchanges) if live is None or live.repaints is not None else live.index
        entries = []
        for index, exchange in enumerate(state.exchanges[:until]):
            messages = state.conversation.messages[exchange.start : exchange.end]
            reply = messages[-1].text if messages[-1].role == "assistant" else ""
            made = [(each.number, each.image, each.record) for each in exchange.paintings]
            entries.append(self._entry(exchange.turn, reply, made, self._troubles.get(index, ())))
        if live is not None and live.repaints is None:
            waits = [Mark("queued")] if live.waits else []
            entries.append(self._entry(live.turn, live.reply, live.made, [*live.troubles, *waits]))
        return entries

    def _entry(self, turn: Turn, reply: str, made: Sequence[tuple], troubles: Sequence[str | Mark]) -> Entry:
        attached = [self.pictures.shown(image) for image in turn.images]
        pictures: dict[int, list[Shown]] = {}
        for number, image, record in sorted(made, key=lambda each: each[0]):
            facts = (f"{self.words['seed']} {record.seed}", f"{image.width}×{image.height}")
            pictures.setdefault(number, []).append(self.pictures.shown(image, record, facts))
        return Entry(turn.text, attached, reply, pictures, tuple(troubles))

    def subject(self) -> About:
        """What the next message is about, the region of an earlier one included."""
        region = self.assistant.region
        if self.live is None and not self.about.kind and region is not None and region.mask is not None:
            return About(REGION)
        return self.about

    def picture(self, number: int | None) -> Image.Image:
        """Raises: UserError when the conversation has no such picture."""
        return self.pictures.image(number, self.words["no picture"])

    # How an answer comes about.

    def _turn(self, text: str, images: tuple[Image.Image, ...], marks: Marks, fill: str) -> Turn:
        about = self.about
        if not about.kind:
            return Turn(text, images)
        images = (self.picture(about.picture), *images)
        if about.kind != REPAINT:
            return Turn(text, images)
        if marks.picture != about.picture or not (marks.drawn or marks.outpaint):
            raise UserError(self.words["nothing marked"])
        return Turn(text, images, marks.mask(images[0].size), marks.outpaint, fill)

    def _answered(
        self,
        turn: Turn,
        chosen: Chosen,
        events: Callable[[], Iterator[AssistantEvent]],
        *,
        changes: bool = False,
        again: bool = False,
    ) -> Iterator[None]:
        """Give an answer, in place of the last one if it is given `again`."""
        with self._alone():
            chosen.into(self.assistant, changes=changes)
            index = len(self.assistant.exchanges) - again
            self._troubles.pop(index, None)
            self.about, self.live = About(), Live(turn, index, paints=chosen.settings.paint)
            yield from self._drawn(events)

    def _drawn(self, events: Callable[[], Iterator[AssistantEvent]]) -> Iterator[None]:
        """Show the answer as it comes; what is left over of it once the session has it is what went wrong."""
        live, self._stopped = self.live, False
        try:
            with self.turns.line() as reached:
                live.waits = not reached(0)
                yield
                while not (self._stopped or reached(LOOK_AGAIN)):
                    yield  # so that who leaves meanwhile is missed
                live.waits = False
                with closing(self._begun(events)) as told:
                    for event in told:
                        live.take(event)
                        yield
        finally:
            live.progress, live.waits = None, False
            if len(self.assistant.exchanges) > live.index:
                self._troubles.setdefault(live.index, []).extend(live.troubles)
                self.live = None

    def _begun(self, events: Callable[[], Iterator[AssistantEvent]]) -> Iterator[AssistantEvent]:
        """The answer's events; only that it was stopped where that happened before it began."""
        if self._stopped:
            yield Stopped()
            return
        with closing(events()) as told:
            if self._stopped:  # just before the assistant began to listen
                self.assistant.cancel()
            yield from told

    def _last(self) -> Exchange:
        if not self.assistant.exchanges:
            raise UserError(self.words["busy" if self._busy.locked() else "nothing said"])
        return self.assistant.exchanges[-1]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thing at a time.  Raises: UserError while something else goes on."""
        if not self._busy.acquire(blocking=False):
            raise UserError(self.words["busy"])
        try:
            yield
        finally:
            self._busy.release()
