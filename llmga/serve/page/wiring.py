"""What happens when something on the page is used: every handler asks the visit, and draws it."""

import logging
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import gradio as gr
from gradio.utils import get_upload_folder

from llmga.assistant.assistant import Assistant
from llmga.assistant.shared_pipeline import FairLock
from llmga.errors import UserError
from llmga.images import MAX_PIXELS
from llmga.serve.api.uploads import Limits, decode
from llmga.serve.page import drawing
from llmga.serve.page.layout import Page, canvas, heading
from llmga.serve.page.mask_editor import Marks
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.moderation import Moderator
from llmga.serve.page.strings import WORDS, language_of
from llmga.serve.page.user_session import REPAINT, UserSession

log = logging.getLogger(__name__)
MODELS = "models"  # events with this id are answers, or may take as long
LONGEST_LINE = 64  # of those who are told to wait; gradio's own queue, where nothing is told, begins behind it
UPLOADS = Limits(picture=2**26, pixels=MAX_PIXELS)  # gradio lets no larger file in, see `serving`
TO_SEE = ("look", "change", "mark")
CLICK = "() => document.querySelector('#saved a, #saved')?.click()"
TELL_LANGUAGE = "(code) => { document.documentElement.lang = code; }"


class Wiring:
    """The page's handlers, joined to its components.

    Args:
        places: how many visits are answered at once; the others are told to wait.
        moderator: tells whether a text is not to be answered.
    """

    def __init__(self, page: Page, studio: ModelPool, places: int, moderator: Moderator | None = None):
        self.page, self.studio, self.places, self.moderator = page, studio, places, moderator
        served = Path(get_upload_folder())
        served.mkdir(parents=True, exist_ok=True)
        self._files = tempfile.TemporaryDirectory(dir=served)  # of all visits; goes when the server does
        self.turns = FairLock(places)
        self._visits: WeakSet[UserSession] = WeakSet()
        self.chosen = page.controls.chosen
        self.drawn = [page.log, page.gallery, page.about]
        self.all = [*self.drawn, page.message, page.easel, page.tabs]
        with page.blocks:
            self._join()

    def _join(self) -> None:
        page, controls = self.page, self.page.controls.components
        model = {"concurrency_limit": self.places + LONGEST_LINE, "concurrency_id": MODELS}
        entering = self._on(page.blocks.load, self.enter, [], self._worded())
        entering.then(None, [page.language], js=TELL_LANGUAGE)
        self._on(page.message.submit, self.say, [page.visit, page.message, page.easel, *controls], self.all, **model)
        self._on(page.message.stop, self.stop, [page.visit], [], queue=False)
        self._on(page.log.select, self.act, [page.visit, page.easel, *controls], self.all, **model)
        self._on(page.retry.click, self.retry, [page.visit, *controls], self.all, **model)
        self._on(page.repaint.click, self.repaint, [page.visit, *controls], self.all, **model)
        self._on(page.undo.click, self.undo, [page.visit, page.message], self.all)
        self._on(page.about.click, self.drop, [page.visit], self.all)
        chosen = [page.visit, page.words_model, page.paint_model]
        self._on(page.clear.click, self.clear, chosen, [page.visit, *self.all])
        for model_list in (page.words_model, page.paint_model):
            self._on(model_list.input, self.switch, chosen, [*self.drawn, *chosen[1:]], **model)
        sampler = page.controls.named["sampler"]
        adapted = [page.controls.named["steps"], page.controls.named["guidance_scale"]]
        self._on(sampler.input, page.controls.own_of, [sampler], adapted)
        self._on(page.language.input, self.speak, [page.language, page.visit], self._worded()).then(
            None, [page.language], js=TELL_LANGUAGE
        )
        saving = self._on(page.save.click, self.save, [page.visit], [page.saved])
        saving.then(None, js=CLICK)
        self._on(page.load.upload, self.load, [page.visit, page.load], [*self.all, *controls])

    def _worded(self) -> list[Any]:
        """The visit, and all that shows words."""
        page = self.page
        return [page.visit, page.head, *self.drawn, page.easel, *page.labels.components]

    @staticmethod
    def _on(event: Callable[..., Any], handler: Callable[..., Any], inputs: list, outputs: list, **how: Any) -> Any:
        return event(handler, inputs, outputs, show_progress="hidden", api_visibility="private", **how)

    # A visit begins, and is drawn.

    def enter(self, request: gr.Request) -> dict[Any, Any]:
        """A page was opened."""
        visit = self._fresh(self.studio.assistant(), language_of(request.headers.get("accept-language", "")))
        talks, paints = self.studio.offered()
        said = self._said(visit)
        said[self.page.words_model] |= {"choices": [(name, name) for name in talks]}
        said[self.page.paint_model] |= {"choices": [(name, name) for name in paints]}
        return said | {self.page.visit: visit}

    def _fresh(self, assistant: Assistant, language: str) -> UserSession:
        visit = UserSession(assistant, self._files.name, language, self.turns)
        self._visits.add(visit)
        return visit

    def end(self) -> None:
        """Every answer is to end; from any thread."""
        for visit in list(self._visits):
            visit.stop()

    def remove(self) -> None:
        """Take the files of all visits away."""
        self._files.cleanup()

    def _said(self, visit: UserSession) -> dict[Any, Any]:
        page, language = self.page, visit.language
        said = dict(zip(page.labels.components, page.labels.in_language(language), strict=True))
        said[page.language] |= {"value": language}
        return said | self.look(visit) | {page.head: heading(language), page.easel: canvas(language)}

    def look(self, visit: UserSession) -> dict[Any, Any]:
        """The conversation, the gallery and what the next message is about."""
        entries, words = visit.entries(), visit.words
        progress = visit.live.progress if visit.live else None
        drawn = [block for at, entry in enumerate(entries) for block in drawing.blocks(at, entry, progress, words)]
        subject = visit.subject()
        shown = [picture for entry in entries for picture in entry.all_pictures()]
        about = None if subject.picture is None else shown[subject.picture]
        said = (drawing.log(drawn, words), drawing.gallery(shown, words), drawing.about(subject.kind, about, words))
        return dict(zip(self.drawn, said, strict=True))

    # Answers.

    def say(self, visit: UserSession | None, message: dict, easel: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """A message was sent."""

        def steps(visit: UserSession) -> Iterator[None]:
            images = [decode(Path(path).read_bytes(), UPLOADS, exact=True) for path in message["files"]]
            return visit.say(self._moderated(visit, message["text"]), images, self.chosen(values), Marks.read(easel))

        yield from self._answer(visit, steps, sent=True)

    def retry(self, visit: UserSession | None, *values: Any) -> Iterator[dict[Any, Any]]:
        """The last answer is to be another one."""
        yield from self._answer(visit, lambda visit: visit.retry(self.chosen(values)))

    def repaint(self, visit: UserSession | None, *values: Any) -> Iterator[dict[Any, Any]]:
        """The last pictures are to be painted again."""
        yield from self._answer(visit, lambda visit: visit.repaint(self.chosen(values)))

    def act(self, visit: UserSession | None, easel: str, event: gr.EventData, *values: Any) -> Iterator[dict[Any, Any]]:
        """A button in the conversation was pressed."""
        told = event._data or {}
        verb, number, text = str(told.get("verb")), _whole(told.get("number")), str(told.get("text", ""))
        if verb in TO_SEE:
            yield self._take_up(visit, verb, number)
            return

        def steps(visit: UserSession) -> Iterator[None]:
            if verb == "similar":
                return visit.similar(number, self.chosen(values))
            words = self._moderated(visit, text)
            if verb == "paint":
                return visit.paint(str(told.get("address")), words, self.chosen(values))
            return visit.say(words, (), self.chosen(values), Marks.read(easel))

        yield from self._answer(visit, steps)

    def _moderated(self, visit: UserSession, text: str) -> str:
        """The text.  Raises: UserError where it is not to be answered."""
        if self.moderator is not None and self.moderator(text):
            raise UserError(visit.words["moderated"])
        return text

    def _answer(
        self, visit: UserSession | None, steps: Callable[[UserSession], Iterator[None]], sent: bool = False
    ) -> Iterator[dict[Any, Any]]:
        """Draw an answer as it comes.

        Args:
            sent: the message box was sent, and is emptied once the answer has begun.
        """
        page, first = self.page, {self.page.message: _answering(True, sent)}
        with _told(visit):
            if visit.about.kind == REPAINT:
                first |= {page.easel: canvas(visit.language), page.tabs: gr.Tabs(selected="pictures")}
            with closing(steps(visit)) as answer:
                for _ in answer:
                    yield first | self.look(visit)
                    first = {}
        # Of a handler that gives nothing at all gradio makes nulls, which break the message box.
        yield {page.message: gr.skip()} if first else {page.message: _answering(False)} | self.look(visit)

    def stop(self, visit: UserSession | None) -> None:
        """The current answer is to end."""
        if visit is not None:
            visit.stop()

    # What takes no time.

    def _take_up(self, visit: UserSession | None, verb: str, number: int) -> dict[Any, Any]:
        page = self.page
        with _told(visit):
            visit.take_up(verb, number)
            if verb != REPAINT:
                return {page.easel: canvas(visit.language)} | self.look(visit)
            given = canvas(visit.language, number, visit.pictures.url(number))
            return {page.easel: given, page.tabs: gr.Tabs(selected="canvas")} | self.look(visit)
        return {page.message: gr.skip()}

    def undo(self, visit: UserSession | None, message: dict) -> dict[Any, Any]:
        """The last turn is taken back; what was said in it is there to be said otherwise, unless something else is."""
        with _told(visit):
            text = visit.undo()
            begun = message["text"].strip() or message["files"]
            said = gr.skip() if begun else {"text": text, "files": []}
            return {self.page.message: said, self.page.easel: canvas(visit.language)} | self.look(visit)
        return {self.page.message: gr.skip()}

    def drop(self, visit: UserSession | None) -> dict[Any, Any]:
        """The next message is about nothing in particular."""
        with _told(visit):
            visit.drop()
            return {self.page.easel: canvas(visit.language)} | self.look(visit)
        return {self.page.message: gr.skip()}

    def clear(self, visit: UserSession | None, words: str, paint: str) -> dict[Any, Any]:
        """A new visit in place of this one."""
        with _told(visit):
            fresh = self._fresh(self.studio.assistant(words, paint), visit.language)
            visit.close()
            return {self.page.visit: fresh, self.page.easel: canvas(visit.language)} | self.look(fresh)
        return {self.page.message: gr.skip()}

    def switch(self, visit: UserSession | None, words: str, paint: str) -> dict[Any, Any]:
        """The same session goes on with other models."""
        with _told(visit):
            visit.go_on_with(self.studio.assistant(words, paint))
            return self.look(visit)
        return {self.page.log: gr.skip()} if visit is None else self._models(visit)

    def _models(self, visit: UserSession) -> dict[Any, Any]:
        """The models that a visit has, where others were chosen and refused."""
        names = {mark.role: mark.name for mark in visit.assistant.models}
        page = self.page
        return {page.words_model: names["language"], page.paint_model: names["painter"]}

    def speak(self, language: str, visit: UserSession | None) -> dict[Any, Any]:
        """Another language was chosen."""
        with _told(visit):
            visit.language = language
            return self._said(visit)
        return {self.page.head: gr.skip()}

    def save(self, visit: UserSession | None) -> str | None:
        """The session as a file to download."""
        with _told(visit):
            return str(visit.save())
        return None

    def load(self, visit: UserSession | None, path: str) -> dict[Any, Any]:
        """A saved session takes the place of this one."""
        with _told(visit):
            for difference in visit.load(path):
                gr.Warning(difference)
            gr.Info(visit.words["loaded"])
            settings = visit.assistant.settings
            controls = zip(self.page.controls.components, self.page.controls.shown(settings), strict=True)
            return {self.page.easel: canvas(visit.language)} | dict(controls) | self.look(visit)
        return {self.page.message: gr.skip()}


def _answering(answering: bool, sent: bool = False) -> dict[str, Any]:
    """The message box while an answer is given, and after it."""
    emptied = {"value": {"text": "", "files": []}} if sent else {}
    return gr.update(submit_btn=not answering, stop_btn=answering, **emptied)


@contextmanager
def _told(visit: UserSession | None) -> Iterator[None]:
    """What goes wrong in the body is shown as one sentence; of a defect only a number that the server's log has."""
    try:
        yield
    except UserError as problem:
        gr.Warning(str(problem))
    except Exception:
        if visit is None:  # nothing can be done for somebody who has left
            gr.Warning(WORDS["en"]["gone"])
            return
        number = secrets.token_hex(4)
        log.exception("report %s", number)
        gr.Warning(visit.words["defect"].format(number))


def _whole(number: object) -> int:
    return number if isinstance(number, int) and not isinstance(number, bool) else -1
