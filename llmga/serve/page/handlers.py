"""What happens when something on the page is used: every handler asks the user's session, and draws it."""

import json
import re
import secrets
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr
from gradio.events import Events
from gradio.utils import get_upload_folder

from llmga.assistant.library.library import Library
from llmga.serve.page import mask_editor
from llmga.serve.page.answer_handlers import LONGEST_LINE, AnswerHandlers
from llmga.serve.page.control_events import QUICK, ControlEvents
from llmga.serve.page.importing import imported
from llmga.serve.page.layout import PageLayout, heading
from llmga.serve.page.library_handlers import LibraryHandlers
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.moderation import Moderator
from llmga.serve.page.strings import preferred_language
from llmga.serve.page.telling import Updates, guarded, problems_shown
from llmga.serve.page.user_session import UserSession
from llmga.serve.page.view import message_box

MODELS = "models"  # events with this id follow answers, or may take as long
CLICK = "() => document.querySelector('#saved a, #saved')?.click()"
TELL_LANGUAGE = "(code) => { document.documentElement.lang = code; }"
WHERE = """(visitor, place) => [
  { ...(visitor || {}), wide: innerWidth >= 1200 },
  location.hash.slice(1), // the conversation that the tab had open
]"""
SHOW_WHERE = "(place) => { history.replaceState(null, '', place ? '#' + place : location.pathname + location.search); }"
REMEMBER = "(visitor, ...values) => (visitor?.id ? { ...visitor, names: NAMES, values } : visitor)"  # what is set
VISITOR = re.compile("[0-9a-f]{32}")


class EventHandlers(AnswerHandlers, LibraryHandlers):
    """The handlers of the page's events, joined to its components.

    Args:
        concurrency: how many conversations are answered at once; the others are told to wait.
        moderator: tells whether a text is not to be answered.
        library: where conversations are kept; None keeps them for as long as a tab is open.
    """

    def __init__(
        self,
        page: PageLayout,
        pool: ModelPool,
        concurrency: int,
        moderator: Moderator | None = None,
        library: Library | None = None,
    ):
        served = Path(get_upload_folder())
        served.mkdir(parents=True, exist_ok=True)
        self._files = tempfile.TemporaryDirectory(dir=served)  # of what is not kept; goes when the server does
        super().__init__(page, pool, concurrency, Path(self._files.name), moderator, library)
        self._tabs: WeakValueDictionary[str, UserSession] = WeakValueDictionary()  # by gradio's name of them
        self._all = [*self.drawn, page.message, page.mask_editor, page.tabs, page.place]
        self._all += [page.library.talks, page.library.side]
        with page.blocks:
            self._join()

    def _join(self) -> None:
        page, controls = self.page, self.page.controls.components
        model: dict[str, Any] = {"concurrency_limit": self._concurrency + LONGEST_LINE, "concurrency_id": MODELS}

        def follow(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **how: Any) -> Any:
            begun = self._on(event, handler, inputs, self._all, **how)
            self._on(begun.then, self.watch, [page.session], self._all, **model)
            return begun

        entering = self._on(page.blocks.load, self.enter, [page.visitor, page.place], self._entered(), js=WHERE)
        entering.then(None, [page.language], js=TELL_LANGUAGE)
        self._on(entering.then, self.watch, [page.session], self._all, **model)
        page.blocks.unload(self.leave)
        self._on(page.tick.tick, self.refresh, [page.session, page.drawn], self._all, queue=False)
        page.place.change(None, [page.place], js=SHOW_WHERE)
        drawing_on = [page.session, page.message, page.mask_editor, *controls]
        follow(page.message.submit, self.say, drawing_on)
        follow(page.log.select, self.act, drawing_on)
        uploaded = partial(Events.upload.listener, page.message)  # which the box reports, though it has no such method
        self._on(uploaded, self.look_at, [page.session, page.message], [page.message])
        self._on(page.message.stop, self.stop, [page.session], [], queue=False)
        for verb, upload in page.bring.items():
            self._on(upload.upload, partial(self.bring, verb), [page.session, upload], self._all)
        self._on(page.subject.click, self.deselect, [page.session], self._all)
        models = [page.language_model, page.picture_model]
        for button in (page.clear, page.library.new):
            self._on(button.click, self.clear, [page.session, *models], self._all, **model)
        own = ControlEvents(page.controls, page.blocks, page.session)
        for model_list in models:
            switched = self._on(model_list.input, self.switch, [page.session, *models], [*self._all, *models], **model)
            switched.then(own.suiting, [page.session, page.controls.named["sampler"]], controls, **QUICK)
        for control in controls:
            self._remembered(control.change)  # typed, pasted, or written by an aspect, the dice or a preset
        speaking = self._on(page.language.input, self.speak, [page.session, page.language], self._labelled())
        speaking.then(None, [page.language], js=TELL_LANGUAGE)
        saving = self._on(page.save.click, self.save, [page.session], [page.saved])
        saving.then(None, js=CLICK)
        self._on(page.load.upload, self.load, [page.session, page.load], [*self._all, *controls])
        # Each press is of another button: gradio would drop one that comes while another is being answered.
        follow(page.library.talks.select, self.keep, [page.session], **model, trigger_mode="multiple")
        wanted = page.library.search
        self._on(wanted.change, self.search, [page.session, wanted], [page.library.talks, page.drawn])  # pasted, too

    def _remembered(self, event: Callable[..., Any]) -> None:
        """The browser remembers what the settings show, for when the page is opened again."""
        names = json.dumps(list(self.page.controls.named))
        event(
            None,
            [self.page.visitor, *self.page.controls.components],
            [self.page.visitor],
            js=REMEMBER.replace("NAMES", names),
        )

    def _entered(self) -> list[Any]:
        """All that is drawn when a page is opened."""
        page = self.page
        seen = [page.visitor, page.place, page.message, page.library.side, *page.controls.components]
        return list(dict.fromkeys([*self._labelled(), *seen]))

    def _labelled(self) -> list[Any]:
        """The session, and all that shows strings."""
        page = self.page
        return [page.session, page.head, *self.drawn, page.mask_editor, page.library.talks, *page.labels.components]

    @staticmethod
    def _on(event: Callable[..., Any], handler: Callable[..., Any], inputs: list, outputs: list, **how: Any) -> Any:
        return event(handler, inputs, outputs, show_progress="hidden", api_visibility="private", **how)

    # A session begins, and is drawn.

    def enter(self, visitor: Any, place: str, request: gr.Request) -> Updates:
        """A page was opened.

        Args:
            visitor: what the browser remembers: who it is, and what the settings showed.
            place: the conversation that stood in this tab; "" for none.
        """
        language = preferred_language(request.headers.get("accept-language", ""))
        told = visitor if isinstance(visitor, dict) else {}
        known = str(told.get("id")) if VISITOR.fullmatch(str(told.get("id"))) else secrets.token_hex(16)
        # Anybody may sign in under any name, so that a name alone opens nothing.
        owner = "" if self.library is None else f"{request.username or ''}:{known}"
        session = self.desk.enter(owner, place, language)
        self._tabs[str(request.session_hash)] = session
        updates = self._in_language(session) | {self.page.session: session, self.page.visitor: told | {"id": known}}
        offered = zip((self.page.language_model, self.page.picture_model), self.pool.offered(), strict=True)
        for model_list, names in offered:
            updates[model_list] |= {"choices": [(name, name) for name in names]}
        for component, value in self._remembered_values(told).items():
            updates[component] = updates.get(component, gr.update()) | {"value": value}
        updates[self.page.message] |= message_box(session.conversation.running)
        return updates | self.address(session) | {self.page.library.side: gr.update(open=told.get("wide") is True)}

    def leave(self, request: gr.Request) -> None:
        """A tab was closed."""
        session = self._tabs.pop(str(request.session_hash), None)
        if session is not None:
            self.desk.leave(session)

    def _remembered_values(self, told: dict[str, Any]) -> Updates:
        """Values that the browser remembers; what cannot be, such as a field that was left wrong, is passed over."""
        names, values, controls = told.get("names"), told.get("values"), self.page.controls
        if not (isinstance(names, list) and isinstance(values, list) and len(names) == len(values)):
            return {}
        given = {name: value for name, value in zip(map(str, names), values, strict=True) if name in controls.named}
        good = {name: value for name, value in given.items() if self._can_be({name: value})}
        return {controls.named[name]: value for name, value in good.items()} if self._can_be(good) else {}

    def _can_be(self, given: dict[str, Any]) -> bool:
        """Whether controls may show this, with the others as they are in a new browser."""
        named = self.page.controls.named
        try:
            for name, value in given.items():
                named[name].preprocess(value)
            self._chosen([given.get(name, component.value) for name, component in named.items()])
        except Exception:  # of another version of the page, or made up
            return False
        return True

    def end(self) -> None:
        """Every answer is to end; from any thread."""
        self.desk.stop_all()

    def remove(self) -> None:
        """Take the files of what is not kept away."""
        self._files.cleanup()

    def _in_language(self, session: UserSession) -> Updates:
        page, language = self.page, session.language
        updates: Updates = dict(zip(page.labels.components, page.labels.in_language(language), strict=True))
        updates[page.language] |= {"value": language}
        session.view.drawn = -1
        drawn = {page.head: heading(language), page.mask_editor: mask_editor.relabelled(language)}
        return updates | self.look(session) | drawn

    @guarded
    def switch(self, session: UserSession, language_model: str, picture_model: str) -> Updates:
        """The same session is to go on with other models; the lists show those that it has, should that be refused."""
        with problems_shown(session):
            session.go_on_with(self.pool.assistant(language_model, picture_model))
            return self.look(session)
        names = {mark.role: mark.name for mark in session.assistant.models}
        return {self.page.language_model: names["language"], self.page.picture_model: names["painter"]}

    @guarded
    def speak(self, session: UserSession, language: str) -> Updates:
        """Another language was chosen."""
        session.language = language
        return self._in_language(session)

    def save(self, session: UserSession | None) -> str | None:
        """The session as a file to download."""
        with problems_shown(session):
            here = self.present(session)
            return str(here.save(Path(tempfile.mkdtemp(dir=self._files.name))))
        return None

    @guarded
    def load(self, session: UserSession, paths: str | list[str]) -> Updates:
        """A saved session or pictures become a new conversation; where none are kept, in place of this one."""
        saved = imported([paths] if isinstance(paths, str) else paths, session.assistant.settings)
        conversation = self.desk.fresh(session.owner) if self.library is not None else session.conversation
        loaded = UserSession(conversation, session.language)
        for difference in loaded.load(saved):
            gr.Warning(difference)
        gr.Info(session.strings["loaded"])
        settings = session.assistant.settings
        controls = zip(self.page.controls.components, self.page.controls.shown(settings), strict=True)
        return dict(controls) | self.opened(session, conversation)
