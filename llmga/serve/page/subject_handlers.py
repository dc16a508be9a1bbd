"""What happens when a person chooses what the next message is about, or puts pictures into it."""

from typing import Any

import gradio as gr

from llmga.serve.page import mask_editor
from llmga.serve.page.telling import Updates, guarded, problems_shown
from llmga.serve.page.uploads import browsable, opened
from llmga.serve.page.user_session import REPAINT, UserSession
from llmga.serve.page.view import PageView

LARGER = "larger"  # as `mark`, with the handles at the sides of the picture
TO_SELECT = ("look", "change", REPAINT, LARGER)


class SubjectHandlers(PageView):
    """The handlers of what takes no time and is not yet said."""

    @guarded
    def select(self, session: UserSession, verb: str, number: int) -> Updates:
        """The next message is to be about a picture."""
        session.select(REPAINT if verb == LARGER else verb, number)
        if verb not in (REPAINT, LARGER):
            return self.closed_editor(session) | self.look(session)
        tool = "grow" if verb == LARGER else "brush"
        editor = mask_editor.opened(session.language, number, session.images.url(number), tool)
        return {self.page.mask_editor: editor, self.page.tabs: gr.Tabs(selected="canvas")} | self.look(session)

    @guarded
    def look_at(self, session: UserSession, message: dict[str, Any]) -> Updates:
        """A file was put into the message box: what cannot be read is told at once, and taken out again."""
        readable = []
        for path in message["files"]:
            with problems_shown(session):
                readable.append(browsable(path, opened(path)))
        same = readable == message["files"]
        return {self.page.message: gr.skip() if same else message | {"files": readable}}

    def bring(self, verb: str, session: UserSession | None, path: str) -> Updates:
        """A picture was chosen on a card of the welcome, to be marked or to grow."""
        with problems_shown(session):
            number = self.present(session).bring(opened(path))
            return self.select(session, verb, number)
        return {self.page.log: gr.skip()}

    @guarded
    def deselect(self, session: UserSession) -> Updates:
        """The next message is about nothing in particular."""
        session.deselect()
        return self.closed_editor(session) | self.look(session)
