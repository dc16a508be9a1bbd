"""What happens when something leads to an answer, ends one, or takes one back; and how tabs follow it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from llmga.assistant.library.library import Library
from llmga.errors import UserError
from llmga.serve.page.conversation import AnswerSteps
from llmga.serve.page.layout import PageLayout
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.moderation import Moderator
from llmga.serve.page.subject_handlers import TO_SELECT, SubjectHandlers
from llmga.serve.page.telling import Updates, guarded, problems_shown
from llmga.serve.page.uploads import opened
from llmga.serve.page.user_session import REPAINT, UserSession
from llmga.serve.page.verbs import Pressed, answer_to
from llmga.serve.page.view import message_box

LONGEST_LINE = 64  # of those who are told to wait; gradio's own queue, where nothing is told, begins behind it


class AnswerHandlers(SubjectHandlers):
    """The handlers of answers.

    An answer is begun by a plain event and goes on in the server whoever leaves; `watch` follows it in the tab where
    that was done, or in one that opens the conversation meanwhile, `refresh` in all others.

    Args:
        concurrency: how many conversations are answered at once; the others are told to wait.
        folder: for files of what is not kept; the browser may fetch them.
        moderator: tells whether a text is not to be answered.
        library: where conversations are kept; None keeps them for as long as a tab is open.
    """

    def __init__(
        self,
        page: PageLayout,
        pool: ModelPool,
        concurrency: int,
        folder: Path,
        moderator: Moderator | None,
        library: Library | None,
    ):
        super().__init__(page, pool, concurrency, folder, library)
        self.moderator = moderator
        self._concurrency = concurrency
        self._chosen = page.controls.chosen

    def say(self, session: UserSession | None, message: dict[str, Any], drawn: str, *values: Any) -> Updates:
        """A message was sent."""

        def steps(session: UserSession) -> AnswerSteps:
            images = [opened(path) for path in message["files"]]
            text = self._moderated(session, message["text"])
            return session.say(text, images, self._chosen(values), EditorValue.read(drawn))

        return self._begin(session, steps, sent=True)

    def act(
        self, session: UserSession | None, message: dict[str, Any], drawn: str, event: gr.EventData, *values: Any
    ) -> Updates:
        """A button in the conversation was pressed."""
        pressed = Pressed.read(event._data)
        if pressed.verb in TO_SELECT:
            return self.select(session, pressed.verb, pressed.number)
        if pressed.verb == "undo":
            return self.undo(session, message)
        if pressed.verb == "bring back":
            return self.bring_back(session)

        def steps(session: UserSession) -> AnswerSteps:
            words = self._moderated(session, pressed.text)
            return answer_to(session, replace(pressed, text=words), self._chosen(values), EditorValue.read(drawn))

        return self._begin(session, steps)

    def _moderated(self, session: UserSession, text: str) -> str:
        """The text.

        Raises:
            UserError: it is not to be answered.
        """
        if self.moderator is not None and self.moderator(text):
            raise UserError(session.strings["moderated"])
        return text

    def _begin(
        self, session: UserSession | None, steps: Callable[[UserSession], AnswerSteps], sent: bool = False
    ) -> Updates:
        """Begin an answer; nothing on the page changes where it is refused.

        Args:
            sent: the message box was sent, and is emptied.
        """
        page = self.page
        with problems_shown(session):
            here = self.present(session)
            if self.slots.waiting >= self._concurrency + LONGEST_LINE:
                raise UserError(here.strings["full"])
            marked = here.selected.kind == REPAINT
            here.conversation.start(steps(here))
            if here.conversation.deleted:
                self.restored(here, here.conversation.key)
            closed = self.closed_editor(here) | {page.tabs: gr.Tabs(selected="pictures")} if marked else {}
            return {page.message: message_box(True, sent)} | closed | self.look(here) | self.address(here)
        return {page.message: gr.skip()}  # of a handler that gives nothing at all gradio makes nulls

    def watch(self, session: UserSession | None) -> Iterator[Updates]:
        """Draw an answer as it comes, until nothing is done in the conversation that the tab shows."""
        page = self.page
        with problems_shown(session):
            here = self.present(session)
            if here.watched:
                yield {page.message: gr.skip()}
                return
            here.watched = True
            try:
                for _ in _shown_changes(here):
                    yield self.look(here)
            finally:
                here.watched = False
            self._tell(here)
            here.view.drawn = -1  # gradio sends what changed since the step before; a step that was lost took its part
            yield {page.message: message_box(False)} | self.look(here)
            return
        yield {page.message: gr.skip()}

    def refresh(self, session: UserSession | None, drawn: float | None = None) -> Updates:
        """What was done in another tab is shown, and that an answer of one is being given.

        Events of one tab may be handled at once, and their drawings reach it in any order, or not at all: what still
        stands there at the second look, and is not the last one, is drawn again.  At the first it may be on its way.

        Args:
            drawn: the number of the drawing that the tab shows; None where that is not known.
        """
        nothing: Updates = {self.page.log: gr.skip()}
        if session is None or session.watched:
            return nothing
        here = self.desk.present(session)
        overtaken = None if drawn in (None, here.drawings) else (drawn, here.drawings)
        again, here.overtaken = overtaken is not None and overtaken == here.overtaken, overtaken
        if not again and here.seen == here.conversation.version:
            return self.talks(here) or nothing
        if again:
            here.view.drawn = -1
        return {self.page.message: message_box(here.conversation.running)} | self.look(here)

    def _tell(self, session: UserSession) -> None:
        """Say once what went wrong in an answer that stands nowhere in it."""
        problem, session.conversation.problem = session.conversation.problem, None
        if problem is not None:
            gr.Warning(session.strings["defect"].format(problem) if isinstance(problem, str) else str(problem))

    def stop(self, session: UserSession | None) -> None:
        """The current answer is to end."""
        if session is not None:
            session.stop()

    @guarded
    def undo(self, session: UserSession, message: dict[str, Any]) -> Updates:
        """The last turn is taken back; what was said in it is there to be said otherwise, unless something else is."""
        text = session.undo()
        begun = message["text"].strip() or message["files"]
        again = gr.skip() if begun else {"text": text, "files": []}
        return {self.page.message: again} | self.closed_editor(session) | self.look(session)

    @guarded
    def bring_back(self, session: UserSession) -> Updates:
        """What was taken back last is there again."""
        session.bring_back()
        return self.closed_editor(session) | self.look(session)


def _shown_changes(session: UserSession) -> Iterator[None]:
    """One step for every change of the conversation that a tab shows, be it another one meanwhile."""
    conversation = None
    while conversation is not session.conversation:
        conversation = session.conversation
        for _ in conversation.changes():
            if conversation is not session.conversation:
                break
            yield
