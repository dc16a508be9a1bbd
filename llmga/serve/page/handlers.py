"""What happens when something on the page is used: every handler asks the user's session, and draws it."""

import json
import logging
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr
from gradio.events import Events
from gradio.utils import get_upload_folder

from llmga.assistant.fair_lock import FairLock
from llmga.assistant.library.library import Library
from llmga.errors import UserError
from llmga.serve.page import drawing, library_panel, mask_editor
from llmga.serve.page.control_events import QUICK, ControlEvents
from llmga.serve.page.conversation import AnswerSteps, OpenConversation
from llmga.serve.page.desk import NEW, Desk
from llmga.serve.page.importing import imported
from llmga.serve.page.layout import PageLayout, heading
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.moderation import Moderator
from llmga.serve.page.strings import preferred_language
from llmga.serve.page.telling import Ended, Updates, guarded, inform, problems_shown, warn
from llmga.serve.page.uploads import browsable, opened
from llmga.serve.page.user_session import REPAINT, UserSession
from llmga.serve.page.verbs import Pressed, answer_to

log: logging.Logger = logging.getLogger(__name__)
MODELS = "models"  # events with this id follow answers, or may take as long
LONGEST_LINE = 64  # of those who are told to wait; gradio's own queue, where nothing is told, begins behind it
LARGER = "larger"  # as `mark`, with the handles at the sides of the picture
TO_SELECT = ("look", "change", REPAINT, LARGER)
CLICK = "() => document.querySelector('#saved a, #saved')?.click()"
TELL_LANGUAGE = "(code) => { document.documentElement.lang = code; }"
WHERE = """(visitor, place) => [
  { ...(visitor || {}), wide: innerWidth >= 1200 },
  location.hash.slice(1), // the conversation that the tab had open
]"""
SHOW_WHERE = "(place) => { history.replaceState(null, '', place ? '#' + place : location.pathname + location.search); }"
REMEMBER = "(visitor, ...values) => ({ ...(visitor || {}), names: NAMES, values })"  # what the settings show
VISITOR = re.compile("[0-9a-f]{32}")


class EventHandlers:
    """The handlers of the page's events, joined to its components.

    An answer is begun by a plain event and goes on in the server whoever leaves; `watch` follows it in the tab where
    that was done, or in one that opens the conversation meanwhile, `refresh` in all others.

    Args:
        concurrency: how many conversations are answered at once; the others are told to wait.
        moderator: tells whether a text is not to be answered.
        library: where conversations are kept; None keeps them for as long as a tab is open.

    Attributes:
        slots: what a conversation holds while it is answered.
        desk: the conversations that are open.
    """

    def __init__(
        self,
        page: PageLayout,
        pool: ModelPool,
        concurrency: int,
        moderator: Moderator | None = None,
        library: Library | None = None,
    ):
        self.page = page
        self.pool = pool
        self.moderator = moderator
        self.library = library
        self._concurrency = concurrency
        served = Path(get_upload_folder())
        served.mkdir(parents=True, exist_ok=True)
        self._files = tempfile.TemporaryDirectory(dir=served)  # of what is not kept; goes when the server does
        self.slots: FairLock = FairLock(concurrency)
        self.desk: Desk = Desk(pool, Path(self._files.name), self.slots, library)
        self._tabs: WeakValueDictionary[str, UserSession] = WeakValueDictionary()  # by gradio's name of them
        self._chosen = page.controls.chosen
        self._drawn = [page.log, page.gallery, page.subject, page.drawn]
        self._all = [*self._drawn, page.message, page.mask_editor, page.tabs, page.place]
        self._all += [page.library.talks, page.library.side]
        with page.blocks:
            self._join()

    def _join(self) -> None:
        page, controls = self.page, self.page.controls.components
        model: dict[str, Any] = {"concurrency_limit": self._concurrency + LONGEST_LINE, "concurrency_id": MODELS}

        # Every press tells which button it was: gradio would drop one that comes while another is being answered.
        presses: dict[str, Any] = {"trigger_mode": "multiple"}

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
        sending = follow(page.message.submit, self.say, drawing_on)
        self._remembered(sending.then)
        follow(page.log.select, self.act, drawing_on, **presses)
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
            switched = self._on(
                model_list.input, self.switch, [page.session, *models], [*self._drawn, *models], **model
            )
            switched.then(own.suiting, [page.session, page.controls.named["sampler"]], controls, **QUICK)
        for control in controls:
            self._remembered(control.input)
        speaking = self._on(page.language.input, self.speak, [page.session, page.language], self._labelled())
        speaking.then(None, [page.language], js=TELL_LANGUAGE)
        saving = self._on(page.save.click, self.save, [page.session], [page.saved])
        saving.then(None, js=CLICK)
        loading = self._on(page.load.upload, self.load, [page.session, page.load], [*self._all, *controls])
        self._remembered(loading.then)
        follow(page.library.talks.select, self.keep, [page.session], **model, **presses)
        wanted = page.library.search
        self._on(wanted.change, self.search, [page.session, wanted], [page.library.talks])  # pasted words, too

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
        return [page.session, page.head, *self._drawn, page.mask_editor, page.library.talks, *page.labels.components]

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
        session.view.beside = told.get("wide") is True
        updates[self.page.message] |= _answering(session.conversation.running)
        return updates | self._place(session) | {self.page.library.side: gr.update(open=session.view.beside)}

    def leave(self, request: gr.Request) -> None:
        """A tab was closed."""
        session = self._tabs.pop(str(request.session_hash), None)
        if session is not None:
            self.desk.leave(session)

    def present(self, session: UserSession | None) -> UserSession:
        """The session of a tab that is heard of.

        Raises:
            Ended: it is over.
        """
        if session is None:
            raise Ended
        return self.desk.present(session)

    def _remembered_values(self, told: dict[str, Any]) -> Updates:
        """Values of the controls that the browser remembers, as far as they can be."""
        names, values, controls = told.get("names"), told.get("values"), self.page.controls
        if not (isinstance(names, list) and isinstance(values, list) and len(names) == len(values)):
            return {}
        given = {name: value for name, value in zip(map(str, names), values, strict=True) if name in controls.named}
        usual = {name: component.value for name, component in controls.named.items()}
        try:
            for name, value in given.items():
                controls.named[name].preprocess(value)
            self._chosen([given.get(name, value) for name, value in usual.items()])
        except Exception:  # of another version of the page, or made up
            return {}
        return {controls.named[name]: value for name, value in given.items()}

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

    def _closed_editor(self, session: UserSession) -> Updates:
        return {self.page.mask_editor: mask_editor.opened(session.language)}

    def look(self, session: UserSession) -> Updates:
        """The conversation, the gallery, what the next message is about, and the list where that has changed."""
        session.seen = session.conversation.version
        session.drawings += 1
        drawing_number = session.drawings
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
        return dict(zip(self._drawn, (*html, drawing_number), strict=True)) | self._list(session)

    def _list(self, session: UserSession, anew: bool = False) -> Updates:
        """The list of conversations, where it has changed."""
        changes, talks = self.desk.changes(session.owner), self.page.library.talks
        if self.library is None or (session.view.drawn == changes and not anew):
            return {}
        session.view.drawn = changes
        return {talks: library_panel.shown(self.library, session)}

    def _place(self, session: UserSession) -> Updates:
        conversation = session.conversation
        return {self.page.place: conversation.key and (conversation.key if conversation.has_begun else NEW)}

    # Answers.

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
                self._restored(here, here.conversation.key)
            closed = self._closed_editor(here) | {page.tabs: gr.Tabs(selected="pictures")} if marked else {}
            return {page.message: _answering(True, sent)} | closed | self.look(here) | self._place(here)
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
            yield {page.message: _answering(False)} | self.look(here)
            return
        yield {page.message: gr.skip()}

    def refresh(self, session: UserSession | None, drawn: float | None = None) -> Updates:
        """What was done in another tab is shown, and that an answer of one is being given.

        Events of one tab may be handled at once, and their drawings reach it in any order, or not at all.

        Args:
            drawn: the number of the drawing that the tab shows; None where that is not known.
        """
        nothing: Updates = {self.page.log: gr.skip()}
        if session is None or session.watched:
            return nothing
        here = self.desk.present(session)
        shown = drawn is None or drawn == here.drawings
        if shown and here.seen == here.conversation.version:
            return self._list(here) or nothing
        if not shown:
            here.view.drawn = -1
        return {self.page.message: _answering(here.conversation.running)} | self.look(here)

    def _tell(self, session: UserSession) -> None:
        """Say once what went wrong in an answer that stands nowhere in it."""
        problem, session.conversation.problem = session.conversation.problem, None
        if problem is not None:
            defect = isinstance(problem, str)
            warn(session.strings["defect"].format(problem) if defect else str(problem), session.strings)

    def stop(self, session: UserSession | None) -> None:
        """The current answer is to end."""
        if session is not None:
            session.stop()

    # What takes no time.

    @guarded
    def select(self, session: UserSession, verb: str, number: int) -> Updates:
        """The next message is to be about a picture."""
        session.select(REPAINT if verb == LARGER else verb, number)
        if verb not in (REPAINT, LARGER):
            return self._closed_editor(session) | self.look(session)
        tool = "grow" if verb == LARGER else "brush"
        editor = mask_editor.opened(session.language, number, session.images.url(number), tool)
        return {self.page.mask_editor: editor, self.page.tabs: gr.Tabs(selected="canvas")} | self.look(session)

    @guarded
    def undo(self, session: UserSession, message: dict[str, Any]) -> Updates:
        """The last turn is taken back; what was said in it is there to be said otherwise, unless something else is."""
        text = session.undo()
        begun = message["text"].strip() or message["files"]
        again = gr.skip() if begun else {"text": text, "files": []}
        return {self.page.message: again} | self._closed_editor(session) | self.look(session)

    @guarded
    def bring_back(self, session: UserSession) -> Updates:
        """What was taken back last is there again."""
        session.bring_back()
        return self._closed_editor(session) | self.look(session)

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
        return self._closed_editor(session) | self.look(session)

    @guarded
    def clear(self, session: UserSession, language_model: str, picture_model: str) -> Updates:
        """A new conversation in place of this one, which stays where it is kept, or can be brought back."""
        left = session.conversation
        if left.kept is not None and not left.has_begun:
            return self._opened(session, left)
        fresh = self.desk.fresh(session.owner, language_model, picture_model)
        fresh.succeed(left)
        return self._opened(session, fresh)

    def _opened(self, session: UserSession, conversation: OpenConversation) -> Updates:
        """Show a conversation."""
        self.desk.turn_to(session, conversation)
        session.view.drawn = -1
        updates: Updates = {self.page.message: _answering(conversation.running)} | self._closed_editor(session)
        if not session.view.beside:
            updates[self.page.library.side] = gr.update(open=False)
        return updates | self.look(session) | self._place(session)

    # The library.

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
                return self._opened(session, self.desk.open(session.owner, key))
            case "rename":
                library.rename(session.owner, key, text)
            case "delete":
                return self._deleted(session, library, key)
            case "restore":
                self._restored(session, key)
                return self._opened(session, self.desk.open(session.owner, key))
            case "more":
                view.pages += 1
                return self._list(session, anew=True)
        self.desk.changed(session.owner)
        return self._list(session)

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
            return self._opened(session, self.desk.fresh(session.owner))
        return self._list(session)

    def _restored(self, session: UserSession, key: str) -> None:
        assert self.library is not None
        self.library.restore(session.owner, key)
        session.view.deleted = None
        self.desk.changed(session.owner)
        conversation = self.desk.is_open(key)
        if conversation is not None:
            conversation.deleted = False

    @guarded
    def search(self, session: UserSession, wanted: str) -> Updates:
        """Conversations are looked for."""
        session.view.wanted, session.view.pages = wanted, 1
        return self._list(session, anew=True)

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
            warn(difference, session.strings)
        inform(session.strings["loaded"], session.strings)
        settings = session.assistant.settings
        controls = zip(self.page.controls.components, self.page.controls.shown(settings), strict=True)
        return dict(controls) | self._opened(session, conversation)


def _answering(answering: bool, sent: bool = False) -> dict[str, Any]:
    """The message box while an answer is given, and after it."""
    emptied: dict[str, Any] = {"value": {"text": "", "files": []}} if sent else {}
    return gr.update(submit_btn=not answering, stop_btn=answering, **emptied)


def _shown_changes(session: UserSession) -> Iterator[None]:
    """One step for every change of the conversation that a tab shows, be it another one meanwhile."""
    conversation = None
    while conversation is not session.conversation:
        conversation = session.conversation
        for _ in conversation.changes():
            if conversation is not session.conversation:
                break
            yield
