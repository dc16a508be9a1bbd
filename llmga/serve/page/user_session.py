"""A person at the page: one browser tab, and what the next message is about."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

from PIL import Image

from llmga.assistant.assistant import SIMILAR, Assistant
from llmga.assistant.events import AssistantEvent
from llmga.assistant.session import Exchange, Turn
from llmga.assistant.session_file import SavedSession, differences, save_session
from llmga.errors import UserError
from llmga.serve.page.controls import Chosen
from llmga.serve.page.conversation import AnswerSteps, Events, OpenConversation
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.strings import STRINGS, Strings
from llmga.serve.page.transcript import AnswerInProgress, Entry, ServedImages

LONGEST_MESSAGE = 20_000  # characters; how many tokens a model reads is told by the flow
LOOK, CHANGE, REPAINT, REGION = "look", "change", "mark", "region"


@dataclass
class ListView:
    """What a tab shows of the library.

    Attributes:
        wanted: words that are looked for.
        pages: how many pages of the list are shown.
        deleted: the key and title of the conversation whose deletion can be undone; None for none.
        drawn: how often the list had changed when it was drawn.
    """

    wanted: str = ""
    pages: int = 1
    deleted: tuple[str, str] | None = None
    drawn: int = -1


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
    """A person at one browser tab: which conversation is open there, and what is shown of it.

    What takes its time is an iterator: the conversation looks otherwise after each of its steps.

    Args:
        conversation: the one that is open; other tabs may show it, too.
        language: a key of `STRINGS`.
        owner: whose conversations the library offers here.

    Attributes:
        selected: what was chosen for the next message; `subject` tells what it is about.
        seen: which version of the conversation was drawn last.
        drawings: counts how often the conversation or the list was drawn.
        overtaken: the drawing that stood in the tab at the last look, and the one that should have; None if it did.
        watched: whether the tab follows an answer as it comes.
        view: what it shows of the library.
    """

    def __init__(self, conversation: OpenConversation, language: str = "en", owner: str = ""):
        self.conversation = conversation
        self.language, self.owner = language, owner
        self.selected: MessageSubject = MessageSubject()
        self.seen, self.watched = -1, False
        self.drawings, self._numbering = 0, Lock()
        self.overtaken: tuple[float | None, int] | None = None
        self.view: ListView = ListView()

    @property
    def strings(self) -> Strings:
        """What the page says, in the language of this session."""
        return STRINGS[self.language]

    @property
    def assistant(self) -> Assistant:
        """Who answers."""
        return self.conversation.assistant

    @property
    def language_model(self) -> str:
        """The name of the one that answers."""
        return next((mark.name for mark in self.assistant.models if mark.role == "language"), "")

    @property
    def images(self) -> ServedImages:
        """What is shown, by its number."""
        return self.conversation.images

    @property
    def in_progress(self) -> AnswerInProgress | None:
        """The answer that is being given, or that came to nothing."""
        return self.conversation.in_progress

    @property
    def folder(self) -> Path:
        """Where the files of the pictures lie."""
        return self.images.pictures.path

    def show(self, conversation: OpenConversation) -> None:
        """Have another conversation open."""
        self.conversation, self.selected, self.seen = conversation, MessageSubject(), -1

    def next_drawing(self) -> int:
        """The number of a drawing that is begun: one that was begun later has a higher one."""
        with self._numbering:  # two events may draw at once
            self.drawings += 1
            return self.drawings

    # What a person can do.

    def say(self, text: str, images: Sequence[Image.Image], chosen: Chosen, drawn: EditorValue) -> AnswerSteps:
        """Answer a message.

        Args:
            images: those that come with the words.
            drawn: what was marked in the mask editor; used where the message is about that.

        Raises:
            UserError: it says nothing, or cannot be answered; the session is as it was.
        """
        self._check(text, images)
        turn = self._turn(text.strip(), tuple(images), drawn, chosen.fill)
        changes, goes_on = self.selected.kind == CHANGE, self.subject().kind == REGION

        def answer() -> Iterator[AssistantEvent]:
            if not goes_on:
                self.assistant.leave_region()  # a changed picture is taken up again by its button
            return self.assistant.stream(turn)

        yield from self._answered(
            turn, chosen.feathered(turn.mask is not None and drawn.feather > 0), answer, changes=changes
        )

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
        if self.in_progress is not None and not self.conversation.busy:  # came to nothing
            turn = self.in_progress.turn
            yield from self._answered(turn, chosen, lambda: self.assistant.stream(turn))
            return
        self._last()
        yield from self._again(len(self.assistant.exchanges) - 1, None, chosen)

    def edit(self, number: int, text: str, chosen: Chosen) -> AnswerSteps:
        """Answer a message anew, in other words; what followed can be brought back.

        Args:
            number: of the message, from 0.

        Raises:
            UserError: there is no such message, or it cannot be answered.
        """
        if not 0 <= number < len(self.assistant.exchanges):
            raise UserError(self.strings["nothing said"])
        self._check(text, self.assistant.exchanges[number].turn.images)
        yield from self._again(number, text.strip(), chosen)

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
            yield from self.conversation.followed(painting, lambda: self.assistant.paint(index, which, prompt))

    def undo(self) -> str:
        """Take the last turn back.

        Returns:
            What was said in it.

        Raises:
            UserError: there is none.
        """
        with self._alone():
            if self.in_progress is None and not self.assistant.exchanges:
                raise UserError(self.strings["nothing to undo"])
            self.selected = MessageSubject()
            return self.conversation.take_back().text

    def bring_back(self) -> None:
        """Go on with what was taken back last, as if it had never been gone.

        Raises:
            UserError: nothing was, or an answer is being given.
        """
        with self._alone():
            if not self.conversation.taken_back.key:
                raise UserError(self.strings["nothing to undo"])
            self.conversation.bring_back()
            self.selected = MessageSubject()

    def bring(self, image: Image.Image) -> int:
        """Have a picture here that no message has yet.

        Returns:
            Its number.
        """
        self.conversation.brought = image
        self.entries()
        return next(number for number, each in enumerate(self.images.numbered) if each is image)

    def stop(self) -> None:
        """End the current answer, or the wait for it; from any thread."""
        self.conversation.stop()

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

    def save(self, folder: Path) -> Path:
        """The session as a ZIP.

        Args:
            folder: an existing one that the browser may fetch from.

        Raises:
            UserError: an answer is being given, or the disk does not take it.
        """
        with self._alone():
            return save_session(folder / "llmga-session.zip", self.assistant.session, self.assistant.models)

    def load(self, saved: SavedSession) -> list[str]:
        """Go on with a saved session.

        Returns:
            Sentences on what is not as it was where it was saved.

        Raises:
            UserError: it is beyond the bounds; all is as it was.
        """
        with self._alone():
            self.assistant.bounds.check_conversation(saved.session.conversation)
            self.conversation.become(saved.session)
            self.selected = MessageSubject()
            return differences(saved.models, self.assistant.models)

    def go_on_with(self, assistant: Assistant) -> None:
        """Let another assistant, with other models, go on with the session.

        Raises:
            UserError: an answer is being given.
        """
        with self._alone():
            assistant.session = self.assistant.session
            self.conversation.assistant = assistant

    def close(self) -> None:
        """The tab is gone for good: what is kept nowhere ends, and its files are removed."""
        if self.conversation.kept is None:
            self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    # What is to be seen.

    def entries(self) -> list[Entry]:
        """The conversation; gives its images their numbers, in order."""
        return self.conversation.entries(self.strings["seed"])

    def subject(self) -> MessageSubject:
        """What the next message is about, the region of an earlier one included."""
        region = self.assistant.region
        if self.in_progress is None and not self.selected.kind and region is not None and region.mask is not None:
            return MessageSubject(REGION)
        if self.selected.picture is not None and self.selected.picture >= len(self.images.numbered):
            self.selected = MessageSubject()  # it was taken back in another tab
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

    def _check(self, text: str, images: Sequence[Image.Image]) -> None:
        """Raises: UserError where a message says nothing, or too much."""
        if len(text) > (longest := min(LONGEST_MESSAGE, self.assistant.bounds.message)):
            raise UserError(self.strings["too long"].format(len(text), longest))
        if not text.strip() and not images:
            raise UserError(self.strings["nothing said"])

    def _again(self, number: int, text: str | None, chosen: Chosen) -> AnswerSteps:
        """Answer message `number` anew, in these words or in those that it has."""
        old = self.assistant.exchanges[number]
        turn = old.turn if text is None else replace(old.turn, text=text)
        changes = old.region is not None and old.region.mask is None and bool(old.turn.images)
        chosen = chosen.feathered(old.region is not None and old.region.changes.get("soft", False))
        answer = partial(self.assistant.edit, number, text)
        yield from self._answered(turn, chosen, answer, changes=changes, instead=number)

    def _answered(
        self, turn: Turn, chosen: Chosen, answer: Events, *, changes: bool = False, instead: int | None = None
    ) -> AnswerSteps:
        """Give an answer, in place of message `instead` and those after it where one is given."""
        with self._alone():
            chosen.into(self.assistant, changes=changes)
            index = len(self.assistant.exchanges) if instead is None else instead
            self.selected = MessageSubject()
            progress = AnswerInProgress(turn, index, paints=chosen.settings.paint)
            yield from self.conversation.followed(progress, answer)

    def _last(self) -> Exchange:
        if not self.assistant.exchanges:
            raise UserError(self.strings["busy" if self.conversation.running else "nothing said"])
        return self.assistant.exchanges[-1]

    def _alone(self) -> AbstractContextManager[None]:
        """Do one thing at a time.

        Raises:
            UserError: something else goes on.
        """
        return self.conversation.alone(self.strings["busy"])
