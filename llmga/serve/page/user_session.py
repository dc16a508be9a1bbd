"""A person at the page: the session of one browser tab, and what the next message is about."""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import cast

from PIL import Image

from llmga.assistant.assistant import SIMILAR, Assistant
from llmga.assistant.events import AssistantEvent, Stopped
from llmga.assistant.fair_lock import FairLock
from llmga.assistant.session import Exchange, Turn
from llmga.assistant.session_file import differences, load_session, save_session
from llmga.errors import UserError
from llmga.serve.page.controls import Chosen
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.strings import STRINGS, Strings
from llmga.serve.page.transcript import AnswerInProgress, Entry, Notice, ServedImages, entries

LONGEST_MESSAGE = 20_000  # characters; how many tokens a model reads is told by the flow
LOOK_AGAIN = 0.5  # seconds between two looks at whether an answer that waits is still wanted
LOOK, CHANGE, REPAINT, REGION = "look", "change", "mark", "region"

AnswerSteps = Generator[None, None, None]
Events = Callable[[], Iterator[AssistantEvent]]


@dataclass
class MessageSubject:
    """What the next message is about.

    Attributes:
        kind: `look`, `change`, `mark`, `region`, or "" for nothing in particular.
        picture: the number of the picture; None for none, and for the region of an earlier message.
    """

    kind: str = ""
    picture: int | None = None


class UserSession:
    """The state of one browser tab; nothing of it is shared.

    What takes its time is an iterator: the session looks otherwise after each of its steps.

    Args:
        assistant: a fresh one, for this session alone.
        folder: an existing folder that the browser may fetch from; an unguessable one is made in it for this session.
        language: a key of `STRINGS`.
        slots: of all sessions; whoever holds one is answered.

    Attributes:
        images: what is shown, by its number.
        selected: what was chosen for the next message; `subject` tells what it is about.
        in_progress: the answer that is being given, or that came to nothing; None once the session has it.
    """

    def __init__(self, assistant: Assistant, folder: str | Path, language: str = "en", slots: FairLock | None = None):
        self.assistant: Assistant = assistant
        self.language = language
        self.slots: FairLock = slots or FairLock()
        self.folder: Path = Path(tempfile.mkdtemp(prefix=f"session-{secrets.token_hex(16)}-", dir=folder))
        self.images: ServedImages = ServedImages(self.folder, assistant.guard.signer)
        self.selected: MessageSubject = MessageSubject()
        self.in_progress: AnswerInProgress | None = None
        self._troubles: dict[int, list[str | Notice]] = {}
        self._busy = Lock()
        self._stopped = False

    @property
    def strings(self) -> Strings:
        """What the page says, in the language of this session."""
        return STRINGS[self.language]

    # What a person can do.

    def say(self, text: str, images: Sequence[Image.Image], chosen: Chosen, drawn: EditorValue) -> AnswerSteps:
        """Answer a message.

        Args:
            images: those that come with the words.
            drawn: what was marked in the mask editor; used where the message is about that.

        Raises:
            UserError: it says nothing, or cannot be answered; the session is as it was.
        """
        if len(text) > (longest := min(LONGEST_MESSAGE, self.assistant.bounds.message)):
            raise UserError(self.strings["too long"].format(len(text), longest))
        if not text.strip() and not images:
            raise UserError(self.strings["nothing said"])
        turn = self._turn(text.strip(), tuple(images), drawn, chosen.fill)
        changes, goes_on = self.selected.kind == CHANGE, self.subject().kind == REGION

        def answer() -> Iterator[AssistantEvent]:
            if not goes_on:
                self.assistant.leave_region()  # a changed picture is taken up again by its button
            return self.assistant.stream(turn)

        yield from self._answered(turn, chosen, answer, changes=changes)

    def similar(self, number: int, chosen: Chosen) -> AnswerSteps:
        """Paint a picture like this one.

        Raises:
            UserError: there is no such picture.
        """
        turn = Turn(SIMILAR, (self.picture(number),))
        yield from self._answered(turn, chosen, lambda: self.assistant.stream(turn))

    def retry(self, chosen: Chosen) -> AnswerSteps:
        """Answer the last message anew.

        Raises:
            UserError: there is none.
        """
        last = self._last()
        changes = last.region is not None and last.region.mask is None and bool(last.turn.images)
        yield from self._answered(last.turn, chosen, self.assistant.retry, changes=changes, again=True)

    def paint(self, address: str, prompt: str | None, chosen: Chosen) -> AnswerSteps:
        """Paint a prompt; what was painted of it before stays.

        Args:
            address: "exchange.prompt", both numbers from 0.
            prompt: its new words; None paints it as it is.

        Raises:
            UserError: there is no such prompt.
        """
        exchange, _, number = address.partition(".")
        if not (exchange.isdecimal() and number.isdecimal() and int(exchange) < len(self.assistant.exchanges)):
            raise UserError(self.strings["no picture"])
        index, which = int(exchange), int(number)
        with self._alone():
            replace(chosen, settings=replace(chosen.settings, paint=True)).into(self.assistant)
            painting = AnswerInProgress(self.assistant.exchanges[index].turn, index, repaints=which)
            yield from self._followed(painting, lambda: self.assistant.paint(index, which, prompt))

    def repaint(self, chosen: Chosen) -> AnswerSteps:
        """Paint the pictures of the last answer that has some again.

        Raises:
            UserError: there is none.
        """
        painted = [index for index, each in enumerate(self.assistant.exchanges) if each.paintings]
        if not painted:
            raise UserError(self.strings["no picture"])
        for number in sorted({each.number for each in self.assistant.exchanges[painted[-1]].paintings}):
            yield from self.paint(f"{painted[-1]}.{number}", None, chosen)
            if self.assistant.cancelled:
                return

    def undo(self) -> str:
        """Take the last turn back.

        Returns:
            What was said in it.

        Raises:
            UserError: there is none.
        """
        with self._alone():
            turn = self.in_progress.turn if self.in_progress else self._last().turn
            if self.in_progress is None:
                self.assistant.undo()
            self.in_progress, self.selected = None, MessageSubject()
            self._troubles.pop(len(self.assistant.exchanges), None)
            return turn.text

    def stop(self) -> None:
        """End the current answer, or the wait for it; from any thread."""
        self._stopped = True
        self.assistant.cancel()

    def select(self, kind: str, number: int) -> None:
        """Let the next message be about a picture.

        Raises:
            UserError: there is no such picture.
        """
        self.picture(number)
        self.selected = MessageSubject(kind, number)

    def deselect(self) -> None:
        """Let the next message be about nothing in particular, not even the region of an earlier one."""
        self.selected = MessageSubject()
        with self._alone():
            self.assistant.leave_region()

    def save(self) -> Path:
        """The session as a ZIP in its own folder.

        Raises:
            UserError: an answer is being given, or the disk does not take it.
        """
        with self._alone():
            return save_session(self.folder / "llmga-session.zip", self.assistant.session, self.assistant.models)

    def load(self, path: str | Path) -> list[str]:
        """Go on with a saved session.

        Returns:
            Sentences on what is not as it was where it was saved.

        Raises:
            UserError: the file is no session, or one beyond the bounds; all is as it was.
        """
        with self._alone():
            try:
                saved = load_session(path)
            except UserError as problem:  # where files lie on the server is nobody's business
                raise UserError(str(problem).replace(str(path), Path(path).name)) from None
            self.assistant.bounds.check_conversation(saved.session.conversation)
            self.assistant.session = saved.session
            self.in_progress, self.selected, self._troubles = None, MessageSubject(), {}
            return differences(saved.models, self.assistant.models)

    def go_on_with(self, assistant: Assistant) -> None:
        """Let another assistant, with other models, go on with the session.

        Raises:
            UserError: an answer is being given.
        """
        with self._alone():
            assistant.session = self.assistant.session
            self.assistant = assistant

    def close(self) -> None:
        """End all work and remove the files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What is to be seen.

    def entries(self) -> list[Entry]:
        """The conversation; gives its images their numbers, in order."""
        return entries(self.assistant.session, self.in_progress, self._troubles, self.images, self.strings["seed"])

    def subject(self) -> MessageSubject:
        """What the next message is about, the region of an earlier one included."""
        region = self.assistant.region
        if self.in_progress is None and not self.selected.kind and region is not None and region.mask is not None:
            return MessageSubject(REGION)
        return self.selected

    def picture(self, number: int | None) -> Image.Image:
        """A picture of the conversation.

        Raises:
            UserError: it has none of this number.
        """
        return self.images.image(number, self.strings["no picture"])

    # How an answer comes about.

    def _turn(self, text: str, images: tuple[Image.Image, ...], drawn: EditorValue, fill: str) -> Turn:
        selected = self.selected
        if not selected.kind:
            return Turn(text, images)
        images = (self.picture(selected.picture), *images)
        if selected.kind != REPAINT:
            return Turn(text, images)
        if drawn.picture != selected.picture or not (drawn.drawing or drawn.outpaint):
            raise UserError(self.strings["nothing marked"])
        return Turn(text, images, drawn.mask(images[0].size), drawn.outpaint, fill)

    def _answered(
        self, turn: Turn, chosen: Chosen, answer: Events, *, changes: bool = False, again: bool = False
    ) -> AnswerSteps:
        """Give an answer, in place of the last one if it is given `again`."""
        with self._alone():
            chosen.into(self.assistant, changes=changes)
            index = len(self.assistant.exchanges) - again
            self._troubles.pop(index, None)
            self.selected = MessageSubject()
            yield from self._followed(AnswerInProgress(turn, index, paints=chosen.settings.paint), answer)

    def _followed(self, progress: AnswerInProgress, answer: Events) -> AnswerSteps:
        """Follow an answer as it comes; what is left of it once the session has it is what went wrong."""
        self.in_progress, self._stopped = progress, False
        try:
            with self.slots.line() as reached:
                progress.waits = not reached(0)
                yield
                while not (self._stopped or reached(LOOK_AGAIN)):
                    yield  # so that who leaves meanwhile is missed
                progress.waits = False
                with closing(self._begun(answer)) as events:
                    for event in events:
                        progress.add(event)
                        yield
        finally:
            progress.progress, progress.waits = None, False
            if len(self.assistant.exchanges) > progress.index:
                self._troubles.setdefault(progress.index, []).extend(progress.troubles)
                self.in_progress = None

    def _begun(self, answer: Events) -> Generator[AssistantEvent, None, None]:
        """The answer's events; only that it was stopped where that happened before it began."""
        if self._stopped:
            yield Stopped()
            return
        with closing(cast(Generator[AssistantEvent, None, None], answer())) as events:
            if self._stopped:  # just before the assistant began to listen
                self.assistant.cancel()
            yield from events

    def _last(self) -> Exchange:
        if not self.assistant.exchanges:
            raise UserError(self.strings["busy" if self._busy.locked() else "nothing said"])
        return self.assistant.exchanges[-1]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Do one thing at a time.

        Raises:
            UserError: something else goes on.
        """
        if not self._busy.acquire(blocking=False):
            raise UserError(self.strings["busy"])
        try:
            yield
        finally:
            self._busy.release()
