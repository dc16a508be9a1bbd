"""The conversations that are open, of all visitors: whoever opens one that is open already joins it."""

import secrets
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import RLock

from llmga.assistant.assistant import Assistant
from llmga.assistant.library.kept import KeptConversation
from llmga.assistant.library.library import Library
from llmga.assistant.library.pictures import PictureFolder
from llmga.assistant.shared_pipeline import FairLock
from llmga.errors import UserError
from llmga.serve.page.conversation import OpenConversation
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.user_session import UserSession

NEW = "new"  # what is wanted where a new conversation stood in which nothing was said


class Desk:
    """What is open.

    A conversation of the library is let go of when no tab shows it and nothing is done in it; one that is kept nowhere
    ends with its tab.

    Args:
        pool: what makes assistants.
        folder: where pictures of conversations go that are kept nowhere; the browser may fetch them.
        slots: whoever holds one is answered.
        library: where conversations are kept; None keeps none.
    """

    def __init__(self, pool: ModelPool, folder: Path, slots: FairLock, library: Library | None = None):
        self.pool, self.slots, self.library = pool, slots, library
        self._folder = folder
        self._lock = RLock()
        self._open: dict[str, OpenConversation] = {}  # those of the library
        self._tabs: dict[UserSession, None] = {}
        self._changes: Counter[str] = Counter()

    # Tabs come and go.

    def enter(self, owner: str, wanted: str, language: str) -> UserSession:
        """A tab was opened.

        Args:
            owner: whose it is; "" of somebody whose conversations are not kept.
            wanted: the conversation that stood in it before; "" opens the latest.
        """
        session = UserSession(self._first(owner, wanted), language, owner)
        with self._lock:
            self._tabs[session] = None
        return session

    def leave(self, session: UserSession) -> None:
        """A tab was closed, or is not heard of."""
        with self._lock:
            self._tabs.pop(session, None)
            self._let_go(session.conversation)

    def present(self, session: UserSession) -> UserSession:
        """The tab, which may have been thought closed."""
        with self._lock:
            if session not in self._tabs:
                self._tabs[session] = None
                if session.conversation.key:
                    session.conversation = self._open.setdefault(session.conversation.key, session.conversation)
        return session

    def turn_to(self, session: UserSession, conversation: OpenConversation) -> None:
        """Show another conversation in a tab."""
        with self._lock:
            before = session.conversation
            if conversation is before:
                return
            session.show(conversation)
            self._let_go(before)
            if not before.key:
                shutil.rmtree(before.images.pictures.path, ignore_errors=True)

    def stop_all(self) -> None:
        """End every answer; from any thread."""
        with self._lock:
            conversations = [*self._open.values(), *(tab.conversation for tab in self._tabs)]
        for conversation in conversations:
            conversation.stop()

    # Conversations are opened.

    def fresh(self, owner: str, language: str | None = None, picture: str | None = None) -> OpenConversation:
        """A new conversation.

        Args:
            language: name of the language model; None is that of the command line.
            picture: name of the picture model, likewise.

        Raises:
            UserError: a model is not offered, or cannot be opened.
        """
        assistant = self.pool.assistant(language, picture)
        signer = assistant.guard.signer
        if self.library is None or not owner:
            name = f"session-{secrets.token_hex(16)}-"
            pictures = PictureFolder(Path(tempfile.mkdtemp(prefix=name, dir=self._folder)), signer)
            return self._made(owner, assistant, pictures)
        made = self._made(owner, assistant, kept=self.library.begin(owner, signer))
        with self._lock:
            self._open[made.key] = made
        return made

    def open(self, owner: str, key: str) -> OpenConversation:
        """A conversation of the library.

        Raises:
            UserError: there is none, or it is damaged.
        """
        if self.library is None:
            raise UserError("no conversations are kept here.")
        kept = self.library.open(owner, key)
        with self._lock:
            if key in self._open:
                return self._open[key]
        assistant = self._assistant(kept.models())
        kept.pictures.signer = assistant.guard.signer
        restored = self._made(owner, assistant, kept=kept).restored()
        with self._lock:
            return self._open.setdefault(key, restored)  # another tab may have been quicker

    def is_open(self, key: str) -> OpenConversation | None:
        """A conversation of the library, if it is open."""
        return self._open.get(key)

    def changes(self, owner: str) -> int:
        """Counts how often the list of somebody's conversations has changed."""
        return self._changes[owner]

    def changed(self, owner: str) -> None:
        """The list of somebody's conversations has to be drawn anew."""
        self._changes[owner] += 1

    def _first(self, owner: str, wanted: str) -> OpenConversation:
        if self.library is not None and owner:
            latest = None if wanted == NEW else self.library.latest(owner)
            for key in filter(None, (wanted, latest)):
                with suppress(UserError):
                    return self.open(owner, key)
        return self.fresh(owner)

    def _assistant(self, names: dict[str, str]) -> Assistant:
        """With the models of the conversation, as far as they are offered."""
        languages, pictures = self.pool.offered()
        language, picture = names.get("language", ""), names.get("painter", "")
        return self.pool.assistant(
            language if language in languages else None, picture if picture in pictures else None
        )

    def _made(
        self,
        owner: str,
        assistant: Assistant,
        pictures: PictureFolder | None = None,
        kept: KeptConversation | None = None,
    ) -> OpenConversation:
        place = kept.pictures if kept is not None else pictures
        assert place is not None
        made = OpenConversation(assistant, place, self.slots, kept, lambda: self.changed(owner))
        made.ended = lambda: self._let_go(made)
        return made

    def _let_go(self, conversation: OpenConversation) -> None:
        with self._lock:
            if any(tab.conversation is conversation for tab in self._tabs):
                return
            if not conversation.key:
                conversation.stop()
            elif not conversation.running:
                self._open.pop(conversation.key, None)
