"""What happens when something in the list of kept conversations is used."""

import gradio as gr

from llmga.assistant.library.library import Library
from llmga.serve.page.telling import Updates, guarded
from llmga.serve.page.user_session import UserSession
from llmga.serve.page.view import PageView


class LibraryHandlers(PageView):
    """The handlers of the list, and of what begins a new conversation."""

    def keep(self, session: UserSession | None, event: gr.EventData) -> Updates:
        """A button in the list of conversations was pressed."""
        pressed = event._data or {}
        verb, key, text = (str(pressed.get(name, "")) for name in ("verb", "key", "text"))
        return self.keep_by(session, verb, key, text)

    @guarded
    def keep_by(self, session: UserSession, verb: str, key: str, text: str) -> Updates:
        """Open, rename, delete or restore a conversation, or list more of them."""
        library, view = self.library, session.view
        if library is None:
            return {self.page.log: gr.skip()}
        match verb:
            case "open":
                return self.opened(session, self.desk.open(session.owner, key))
            case "rename":
                library.rename(session.owner, key, text)
            case "delete":
                return self._deleted(session, library, key)
            case "restore":
                self.restored(session, key)
                return self.opened(session, self.desk.open(session.owner, key))
            case "more":
                view.pages += 1
                return self.talks(session, anew=True)
        self.desk.changed(session.owner)
        return self.talks(session)

    def _deleted(self, session: UserSession, library: Library, key: str) -> Updates:
        title = library.title(session.owner, key)
        library.delete(session.owner, key)
        session.view.deleted = key, title
        self.desk.changed(session.owner)
        conversation = self.desk.is_open(key)
        if conversation is not None:
            conversation.deleted = True
            conversation.stop()
        if session.conversation.key == key:
            return self.opened(session, self.desk.fresh(session.owner))
        return self.talks(session)

    @guarded
    def search(self, session: UserSession, wanted: str) -> Updates:
        """Conversations are looked for."""
        session.view.wanted, session.view.pages = wanted, 1
        return self.talks(session, anew=True)

    @guarded
    def clear(self, session: UserSession, language_model: str, picture_model: str) -> Updates:
        """A new conversation in place of this one, which stays where it is kept, or can be brought back."""
        left = session.conversation
        if left.kept is not None and not left.has_begun:
            return self.opened(session, left)
        fresh = self.desk.fresh(session.owner, language_model, picture_model)
        fresh.succeed(left)
        return self.opened(session, fresh)
