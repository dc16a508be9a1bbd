"""What happens when something on the page is used: every handler asks the user's session, and draws it."""

import logging
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from weakref import WeakSet

import gradio as gr
from gradio.utils import get_upload_folder

from llmga.assistant.assistant import Assistant
from llmga.assistant.fair_lock import FairLock
from llmga.errors import UserError
from llmga.images import MAX_PIXELS
from llmga.serve.api.image_data import decode_image
from llmga.serve.api.options import RequestLimits
from llmga.serve.page import drawing, mask_editor
from llmga.serve.page.layout import PageLayout, heading
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.moderation import Moderator
from llmga.serve.page.strings import STRINGS, preferred_language
from llmga.serve.page.user_session import REPAINT, AnswerSteps, UserSession

log: logging.Logger = logging.getLogger(__name__)
MODELS = "models"  # events with this id are answers, or may take as long
LONGEST_LINE = 64  # of those who are told to wait; gradio's own queue, where nothing is told, begins behind it
UPLOADS = RequestLimits(picture=2**26, pixels=MAX_PIXELS)  # gradio lets no larger file in, see `serving`
TO_SELECT = ("look", "change", "mark")
CLICK = "() => document.querySelector('#saved a, #saved')?.click()"
TELL_LANGUAGE = "(code) => { document.documentElement.lang = code; }"

Updates = dict[Any, Any]  # component -> its new value, or what of it is new


def _guarded(handler: Callable[..., Updates]) -> Callable[..., Updates]:
    """The handler, of which problems are shown; nothing on the page changes then."""

    @wraps(handler)
    def guarded(self: "EventHandlers", session: UserSession | None, *values: Any) -> Updates:
        with _problems_shown(session):
            return handler(self, _present(session), *values)
        return {self.page.log: gr.skip()}  # of a handler that gives nothing at all gradio makes nulls

    return guarded


class EventHandlers:
    """The handlers of the page's events, joined to its components.

    Args:
        concurrency: how many sessions are answered at once; the others are told to wait.
        moderator: tells whether a text is not to be answered.

    Attributes:
        slots: what a session holds while it is answered.
    """

    def __init__(self, page: PageLayout, pool: ModelPool, concurrency: int, moderator: Moderator | None = None):
        self.page = page
        self.pool = pool
        self.moderator = moderator
        self._concurrency = concurrency
        served = Path(get_upload_folder())
        served.mkdir(parents=True, exist_ok=True)
        self._files = tempfile.TemporaryDirectory(dir=served)  # of all sessions; goes when the server does
        self.slots: FairLock = FairLock(concurrency)
        self._sessions: WeakSet[UserSession] = WeakSet()
        self._chosen = page.controls.chosen
        self._drawn = [page.log, page.gallery, page.subject]
        self._all = [*self._drawn, page.message, page.mask_editor, page.tabs]
        with page.blocks:
            self._join()

    def _join(self) -> None:
        page, controls = self.page, self.page.controls.components
        model: dict[str, Any] = {"concurrency_limit": self._concurrency + LONGEST_LINE, "concurrency_id": MODELS}
        entering = self._on(page.blocks.load, self.enter, [], self._labelled())
        entering.then(None, [page.language], js=TELL_LANGUAGE)
        drawing_on = [page.session, page.mask_editor, *controls]
        self._on(page.message.submit, self.say, [page.session, page.message, *drawing_on[1:]], self._all, **model)
        self._on(page.message.stop, self.stop, [page.session], [], queue=False)
        self._on(page.log.select, self.act, drawing_on, self._all, **model)
        self._on(page.verbs["retry"].click, self.retry, [page.session, *controls], self._all, **model)
        self._on(page.verbs["repaint"].click, self.repaint, [page.session, *controls], self._all, **model)
        self._on(page.verbs["undo"].click, self.undo, [page.session, page.message], self._all)
        self._on(page.subject.click, self.deselect, [page.session], self._all)
        models = [page.language_model, page.picture_model]
        self._on(page.verbs["clear"].click, self.clear, [page.session, *models], [page.session, *self._all])
        for model_list in models:
            self._on(model_list.input, self.switch, [page.session, *models], [*self._drawn, *models], **model)
        sampler = page.controls.named["sampler"]
        adapted = [page.controls.named["steps"], page.controls.named["guidance_scale"]]
        self._on(sampler.input, page.controls.own_of, [sampler], adapted)
        speaking = self._on(page.language.input, self.speak, [page.session, page.language], self._labelled())
        speaking.then(None, [page.language], js=TELL_LANGUAGE)
        saving = self._on(page.save.click, self.save, [page.session], [page.saved])
        saving.then(None, js=CLICK)
        self._on(page.load.upload, self.load, [page.session, page.load], [*self._all, *controls])

    def _labelled(self) -> list[Any]:
        """The session, and all that shows strings."""
        page = self.page
        return [page.session, page.head, *self._drawn, page.mask_editor, *page.labels.components]

    @staticmethod
    def _on(event: Callable[..., Any], handler: Callable[..., Any], inputs: list, outputs: list, **how: Any) -> Any:
        return event(handler, inputs, outputs, show_progress="hidden", api_visibility="private", **how)

    # A session begins, and is drawn.

    def enter(self, request: gr.Request) -> Updates:
        """A page was opened."""
        language = preferred_language(request.headers.get("accept-language", ""))
        session = self._fresh(self.pool.assistant(), language)
        updates = self._in_language(session)
        offered = zip((self.page.language_model, self.page.picture_model), self.pool.offered(), strict=True)
        for model_list, names in offered:
            updates[model_list] |= {"choices": [(name, name) for name in names]}
        return updates | {self.page.session: session}

    def _fresh(self, assistant: Assistant, language: str) -> UserSession:
        session = UserSession(assistant, self._files.name, language, self.slots)
        self._sessions.add(session)
        return session

    def end(self) -> None:
        """Every answer is to end; from any thread."""
        for session in list(self._sessions):
            session.stop()

    def remove(self) -> None:
        """Take the files of all sessions away."""
        self._files.cleanup()

    def _in_language(self, session: UserSession) -> Updates:
        page, language = self.page, session.language
        updates: Updates = dict(zip(page.labels.components, page.labels.in_language(language), strict=True))
        updates[page.language] |= {"value": language}
        return updates | self.look(session) | {page.head: heading(language)} | self._closed_editor(session)

    def _closed_editor(self, session: UserSession) -> Updates:
        return {self.page.mask_editor: mask_editor.opened(session.language)}

    def look(self, session: UserSession) -> Updates:
        """The conversation, the gallery and what the next message is about."""
        entries, strings = session.entries(), session.strings
        progress = session.in_progress.progress if session.in_progress else None
        items = [item for at, each in enumerate(entries) for item in drawing.log_items(at, each, progress, strings)]
        pictures = [picture for entry in entries for picture in entry.all_pictures()]
        subject = session.subject()
        thumbnail = None if subject.picture is None else pictures[subject.picture]
        html = (
            drawing.log(items, strings),
            drawing.gallery(pictures, strings),
            drawing.subject(subject.kind, thumbnail, strings),
        )
        return dict(zip(self._drawn, html, strict=True))

    # Answers.

    def say(self, session: UserSession | None, message: dict[str, Any], drawn: str, *values: Any) -> Iterator[Updates]:
        """A message was sent."""

        def steps(session: UserSession) -> AnswerSteps:
            images = [decode_image(Path(path).read_bytes(), UPLOADS, exact=True) for path in message["files"]]
            text = self._moderated(session, message["text"])
            return session.say(text, images, self._chosen(values), EditorValue.read(drawn))

        yield from self._answer(session, steps, sent=True)

    def retry(self, session: UserSession | None, *values: Any) -> Iterator[Updates]:
        """The last answer is to be another one."""
        yield from self._answer(session, lambda session: session.retry(self._chosen(values)))

    def repaint(self, session: UserSession | None, *values: Any) -> Iterator[Updates]:
        """The last pictures are to be painted again."""
        yield from self._answer(session, lambda session: session.repaint(self._chosen(values)))

    def act(self, session: UserSession | None, drawn: str, event: gr.EventData, *values: Any) -> Iterator[Updates]:
        """A button in the conversation was pressed."""
        pressed = event._data or {}
        verb, number, text = str(pressed.get("verb")), _whole(pressed.get("number")), str(pressed.get("text", ""))
        if verb in TO_SELECT:
            yield self.select(session, verb, number)
            return

        def steps(session: UserSession) -> AnswerSteps:
            if verb == "similar":
                return session.similar(number, self._chosen(values))
            words = self._moderated(session, text)
            if verb == "paint":
                return session.paint(str(pressed.get("address")), words, self._chosen(values))
            return session.say(words, (), self._chosen(values), EditorValue.read(drawn))

        yield from self._answer(session, steps)

    def _moderated(self, session: UserSession, text: str) -> str:
        """The text.

        Raises:
            UserError: it is not to be answered.
        """
        if self.moderator is not None and self.moderator(text):
            raise UserError(session.strings["moderated"])
        return text

    def _answer(
        self, session: UserSession | None, steps: Callable[[UserSession], AnswerSteps], sent: bool = False
    ) -> Iterator[Updates]:
        """Draw an answer as it comes.

        Args:
            sent: the message box was sent, and is emptied once the answer has begun.
        """
        page, first = self.page, {self.page.message: _answering(True, sent)}
        with _problems_shown(session):
            here = _present(session)
            if here.selected.kind == REPAINT:
                first |= self._closed_editor(here) | {page.tabs: gr.Tabs(selected="pictures")}
            with closing(steps(here)) as answer:
                for _ in answer:
                    yield first | self.look(here)
                    first = {}
        # Of a handler that gives nothing at all gradio makes nulls, which break the message box.
        yield {page.message: gr.skip()} if first else {page.message: _answering(False)} | self.look(_present(session))

    def stop(self, session: UserSession | None) -> None:
        """The current answer is to end."""
        if session is not None:
            session.stop()

    # What takes no time.

    @_guarded
    def select(self, session: UserSession, verb: str, number: int) -> Updates:
        """The next message is to be about a picture."""
        session.select(verb, number)
        if verb != REPAINT:
            return self._closed_editor(session) | self.look(session)
        editor = mask_editor.opened(session.language, number, session.images.url(number))
        return {self.page.mask_editor: editor, self.page.tabs: gr.Tabs(selected="canvas")} | self.look(session)

    @_guarded
    def undo(self, session: UserSession, message: dict[str, Any]) -> Updates:
        """The last turn is taken back; what was said in it is there to be said otherwise, unless something else is."""
        text = session.undo()
        begun = message["text"].strip() or message["files"]
        again = gr.skip() if begun else {"text": text, "files": []}
        return {self.page.message: again} | self._closed_editor(session) | self.look(session)

    @_guarded
    def deselect(self, session: UserSession) -> Updates:
        """The next message is about nothing in particular."""
        session.deselect()
        return self._closed_editor(session) | self.look(session)

    @_guarded
    def clear(self, session: UserSession, language_model: str, picture_model: str) -> Updates:
        """A new session in place of this one."""
        fresh = self._fresh(self.pool.assistant(language_model, picture_model), session.language)
        session.close()
        return {self.page.session: fresh} | self._closed_editor(fresh) | self.look(fresh)

    @_guarded
    def switch(self, session: UserSession, language_model: str, picture_model: str) -> Updates:
        """The same session is to go on with other models; the lists show those that it has, should that be refused."""
        with _problems_shown(session):
            session.go_on_with(self.pool.assistant(language_model, picture_model))
            return self.look(session)
        names = {mark.role: mark.name for mark in session.assistant.models}
        return {self.page.language_model: names["language"], self.page.picture_model: names["painter"]}

    @_guarded
    def speak(self, session: UserSession, language: str) -> Updates:
        """Another language was chosen."""
        session.language = language
        return self._in_language(session)

    def save(self, session: UserSession | None) -> str | None:
        """The session as a file to download."""
        with _problems_shown(session):
            return str(_present(session).save())
        return None

    @_guarded
    def load(self, session: UserSession, path: str) -> Updates:
        """A saved session takes the place of this one."""
        for difference in session.load(path):
            gr.Warning(difference)
        gr.Info(session.strings["loaded"])
        settings = session.assistant.settings
        controls = zip(self.page.controls.components, self.page.controls.shown(settings), strict=True)
        return self._closed_editor(session) | dict(controls) | self.look(session)


def _answering(answering: bool, sent: bool = False) -> dict[str, Any]:
    """The message box while an answer is given, and after it."""
    emptied: dict[str, Any] = {"value": {"text": "", "files": []}} if sent else {}
    return gr.update(submit_btn=not answering, stop_btn=answering, **emptied)


class _Ended(Exception):
    """The session of a page is over: nothing can be done for somebody who has left."""


def _present(session: UserSession | None) -> UserSession:
    if session is None:
        raise _Ended
    return session


@contextmanager
def _problems_shown(session: UserSession | None) -> Iterator[None]:
    """What goes wrong in the body is shown as one sentence; of a defect only a number that the server's log has."""
    try:
        yield
    except UserError as problem:
        gr.Warning(str(problem))
    except _Ended:
        gr.Warning(STRINGS["en"]["gone"])
    except Exception:
        number = secrets.token_hex(4)
        log.exception("report %s", number)
        gr.Warning(_present(session).strings["defect"].format(number))


def _whole(number: object) -> int:
    return number if isinstance(number, int) and not isinstance(number, bool) else -1
