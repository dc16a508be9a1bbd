"""What a tab shows of a conversation and of the library, as updates of the page's components."""

from pathlib import Path
from typing import Any

import gradio as gr

from llmga.assistant.fair_lock import FairLock
from llmga.assistant.library.library import Library
from llmga.serve.page import drawing, library_panel, mask_editor
from llmga.serve.page.conversation import OpenConversation
from llmga.serve.page.desk import NEW, Desk
from llmga.serve.page.layout import PageLayout
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.telling import Ended, Updates
from llmga.serve.page.user_session import UserSession


class PageView:
    """The page's components, and the conversations that they show.

    Args:
        concurrency: how many conversations are answered at once.
        folder: for files of what is not kept; the browser may fetch them.
        library: where conversations are kept; None keeps them for as long as a tab is open.

    Attributes:
        slots: what a conversation holds while it is answered.
        desk: the conversations that are open.
        drawn: the components that a conversation is drawn in.
    """

    def __init__(self, page: PageLayout, pool: ModelPool, concurrency: int, folder: Path, library: Library | None):
        self.page = page
        self.pool = pool
        self.library = library
        self.slots: FairLock = FairLock(concurrency)
        self.desk: Desk = Desk(pool, folder, self.slots, library)
        self.drawn: list[Any] = [page.log, page.gallery, page.subject, page.drawn]

    def present(self, session: UserSession | None) -> UserSession:
        """The session of a tab that is heard of.

        Raises:
            Ended: it is over.
        """
        if session is None:
            raise Ended
        return self.desk.present(session)

    def look(self, session: UserSession) -> Updates:
        """The conversation, the gallery, what the next message is about, and the list where that has changed."""
        session.seen = session.conversation.version
        number = session.next_drawing()
        entries, strings = session.entries(), session.strings
        progress = session.in_progress.progress if session.in_progress else None
        pictures = [picture for entry in entries for picture in entry.all_pictures()]
        subject, welcome = session.subject(), self.pool.welcome(session.language_model)
        thumbnail = None if subject.picture is None else session.images.look(subject.picture)
        html = (
            drawing.log(entries, progress, strings, welcome, session.conversation.taken_back.key),
            drawing.gallery(pictures, strings, welcome),
            drawing.subject(subject.kind, thumbnail, strings),
        )
        return dict(zip(self.drawn, (*html, number), strict=True)) | self.talks(session)

    def talks(self, session: UserSession, anew: bool = False) -> Updates:
        """The list of conversations, where it has changed."""
        changes = self.desk.changes(session.owner)
        if self.library is None or (session.view.drawn == changes and not anew):
            return {}
        session.view.drawn, number = changes, session.next_drawing()
        return {self.page.library.talks: library_panel.shown(self.library, session), self.page.drawn: number}

    def address(self, session: UserSession) -> Updates:
        """What stands in the tab's address: which conversation is open."""
        conversation = session.conversation
        return {self.page.place: conversation.key and (conversation.key if conversation.has_begun else NEW)}

    def opened(self, session: UserSession, conversation: OpenConversation) -> Updates:
        """Show a conversation."""
        self.desk.turn_to(session, conversation)
        session.view.drawn = -1
        box: Updates = {self.page.message: message_box(conversation.running)}
        return box | self.closed_editor(session) | self.look(session) | self.address(session)

    def closed_editor(self, session: UserSession) -> Updates:
        """The canvas without a picture."""
        return {self.page.mask_editor: mask_editor.opened(session.language)}

    def restored(self, session: UserSession, key: str) -> None:
        """A conversation that was deleted is there again.

        Raises:
            UserError: it cannot be had back.
        """
        assert self.library is not None
        self.library.restore(session.owner, key)
        session.view.deleted = None
        self.desk.changed(session.owner)
        conversation = self.desk.is_open(key)
        if conversation is not None:
            conversation.deleted = False


def message_box(answering: bool, sent: bool = False) -> dict[str, Any]:
    """The message box while an answer is given, and after it."""
    emptied: dict[str, Any] = {"value": {"text": "", "files": []}} if sent else {}
    return gr.update(submit_btn=not answering, stop_btn=answering, **emptied)
