"""A conversation that is open at the page, and the answer that is given in it, whoever looks on."""

import logging
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import Condition, Lock, RLock, Thread
from typing import Any, cast

from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import AssistantEvent, PictureReady, Stopped
from llmga.assistant.fair_lock import FairLock
from llmga.assistant.library.kept import Kept, KeptConversation
from llmga.assistant.library.pictures import PictureFolder
from llmga.assistant.session import Session, Turn
from llmga.errors import UserError, system_reason
from llmga.serve.page.taken_back import TakenBack
from llmga.serve.page.transcript import AnswerInProgress, Entry, Notice, ServedImages, entries

LOOK_AGAIN = 0.5  # seconds between two looks at whether an answer that waits is still wanted

INTERRUPTED = Notice("interrupted")  # the process that gave the answer ended

AnswerSteps = Generator[None, None, None]
Events = Callable[[], Iterator[AssistantEvent]]
Troubles = dict[int, list[str | Notice]]

log: logging.Logger = logging.getLogger(__name__)


class OpenConversation:
    """A conversation and its assistant: shown in a tab, in several of one visitor, or in none while it is answered.

    What takes its time is an iterator (`followed`): the conversation looks otherwise after each of its steps, and is
    kept on disk before anybody sees that.  `start` takes the steps in a thread of its own, so that they go on whoever
    leaves; `changes` is for those who look on.

    Args:
        assistant: a fresh one, for this conversation alone.
        pictures: where the files of its pictures go; the browser may fetch them.
        slots: of all conversations; whoever holds one is answered.
        kept: where it is kept on disk; None keeps it for as long as it is open.
        kept_changed: called when a list of what is kept has to be drawn anew.

    Attributes:
        images: what is shown, by its number.
        in_progress: the answer that is being given, or that came to nothing; None once the session has it.
        version: counts how often it has come to look otherwise.
        running: whether steps are taken.
        deleted: a person took it away, and has not had it back.
        problem: what went wrong in the latest answer that stands nowhere else: a sentence for who asked, or the number
            of a defect in the server's log.
        taken_back: what can be brought back, until something else is said.
        brought: a picture that no message has yet, for the next one to be about.
    """

    def __init__(
        self,
        assistant: Assistant,
        pictures: PictureFolder,
        slots: FairLock | None = None,
        kept: KeptConversation | None = None,
        kept_changed: Callable[[], None] = lambda: None,
    ):
        self.assistant: Assistant = assistant
        self.slots: FairLock = slots or FairLock()
        self.kept = kept
        self.kept_changed = kept_changed
        self.images: ServedImages = ServedImages(pictures)
        self.in_progress: AnswerInProgress | None = None
        self.version, self.running, self.deleted = 0, False, False
        self.problem: UserError | str | None = None
        self.taken_back: TakenBack = TakenBack()
        self.brought: Image.Image | None = None
        self.ended: Callable[[], None] = lambda: None
        self._troubles: Troubles = {}
        self._busy, self._stopped = Lock(), False
        self._steps: AnswerSteps | None = None  # those that are taken
        self._looking = RLock()  # of what is drawn
        self._changed, self._keeping = Condition(), Lock()
        self._as_kept: tuple[object, ...] = ()

    @property
    def key(self) -> str:
        """What the library knows it by; "" where there is none."""
        return self.kept.key if self.kept else ""

    # What is to be seen.

    def entries(self, seed: str) -> list[Entry]:
        """The conversation; gives its images their numbers, in order.

        Args:
            seed: what the page calls the seed of an image.
        """
        with self._looking:
            found = entries(self.assistant.session, self.in_progress, self._troubles, self.images, seed)
            if self.brought is not None:
                self.images.shown(self.brought)
            return found

    def changes(self) -> Iterator[None]:
        """One step whenever the conversation looks otherwise, until nothing is done in it any more."""
        seen = -1
        while True:
            with self._changed:
                self._changed.wait_for(lambda before=seen: self.version != before or not self.running)  # type: ignore[misc]
                seen, running = self.version, self.running
            if not running:
                return
            yield

    # What is done in it.

    @contextmanager
    def alone(self, busy: str) -> Iterator[None]:
        """Do one thing at a time, and keep what came of it.

        Raises:
            UserError: something else goes on; the message is `busy`.
        """
        if not self._busy.acquire(blocking=False):
            raise UserError(busy)
        try:
            yield
        finally:
            self._busy.release()
            self.touch()

    @property
    def busy(self) -> bool:
        """Whether something goes on."""
        return self._busy.locked()

    def start(self, steps: AnswerSteps) -> None:
        """Take steps, the first one at once and the others in the background.

        Raises:
            UserError: it is refused; nothing has changed.
        """
        next(steps, None)
        self._steps, self.running, self.problem = steps, True, None
        self.touch()
        Thread(target=self._take, args=(steps,), daemon=True).start()

    def stop(self) -> None:
        """End the current answer, or the wait for it; from any thread."""
        self._stopped = True
        self.assistant.cancel()

    def followed(self, progress: AnswerInProgress, answer: Events) -> AnswerSteps:
        """Follow an answer as it comes; what is left of it once the session has it is what went wrong."""
        earlier, before = self.assistant.session, self._troubles.pop(progress.index, [])
        if progress.repaints is not None:
            self._troubles[progress.index] = [each for each in before if each != INTERRUPTED]
        else:
            self._troubles = {index: told for index, told in self._troubles.items() if index < progress.index}
            self.taken_back, self.brought = TakenBack(), None
        self.in_progress, self._stopped = progress, False
        try:
            with self.slots.line() as reached:
                progress.waits = not reached(0)
                yield
                while not (self._stopped or reached(LOOK_AGAIN)):
                    yield  # so that who leaves meanwhile is missed
                progress.waits = False
                with closing(self._begun(answer)) as events:
                    for event in events:
                        self._keep()  # the session has it already, and nobody has seen it yet
                        with self._looking:
                            progress.add(event)
                        if isinstance(event, PictureReady):
                            self.kept_changed()
                        yield
        finally:
            with self._looking:
                progress.progress, progress.waits = None, False
                if len(self.assistant.exchanges) > progress.index:
                    self._troubles.setdefault(progress.index, []).extend(progress.troubles)
                    self.in_progress = None
                if progress.repaints is None and self._lacks(earlier):
                    self.taken_back = TakenBack().kept("replaced", earlier)

    def _lacks(self, earlier: Session) -> bool:
        """Whether something of an earlier session is here no more."""
        here, there = self.assistant.exchanges, earlier.exchanges
        return len(here) < len(there) or any(one is not other for one, other in zip(here, there, strict=False))

    def take_back(self) -> Turn:
        """Take the last turn back, be it answered or not.

        Raises:
            UserError: there is none.
        """
        with self._looking:
            if self.in_progress is None:
                self.taken_back = self.taken_back.kept("undone", self.assistant.session)
            turn = self.in_progress.turn if self.in_progress else self.assistant.undo()
            self.in_progress = None
            self._troubles.pop(len(self.assistant.exchanges), None)
            return turn

    def bring_back(self) -> None:
        """Go on with what was taken back last."""
        session, self.taken_back = self.taken_back.brought_back(self.assistant.session)
        self.become(session)

    def succeed(self, other: "OpenConversation") -> None:
        """Take the place of one that is kept nowhere else; it can be brought back."""
        if other.kept is None and other.assistant.exchanges:
            self.taken_back = other.taken_back.kept("cleared", other.assistant.session)

    def become(self, session: Session) -> None:
        """Go on with another session in place of this one."""
        with self._looking:
            self.assistant.session = session
            self.in_progress, self.brought, self._troubles = None, None, {}

    def touch(self, ended: AnswerSteps | None = None) -> None:
        """Something has changed: keep it, then let it be seen.

        Args:
            ended: steps that are all taken; whoever looks on sees that and what came of them at once.
        """
        self._keep()
        with self._changed:
            if ended is not None and ended is self._steps:  # nothing else was begun meanwhile
                self.running = False
            self.version += 1
            self._changed.notify_all()

    def _take(self, steps: AnswerSteps) -> None:
        """Take the steps that are left."""
        try:
            with closing(steps):
                for _ in steps:
                    self.touch()
        except UserError as problem:
            self.problem = problem
        except Exception:
            self._report()
        finally:
            self._keep()
            self.kept_changed()  # once it is kept, and before whoever looks on draws for the last time
            self.touch(ended=steps)
            self.ended()

    def _begun(self, answer: Events) -> Generator[AssistantEvent, None, None]:
        """The answer's events; only that it was stopped where that happened before it began."""
        if self._stopped:
            yield Stopped()
            return
        with closing(cast(Generator[AssistantEvent, None, None], answer())) as events:
            if self._stopped:  # just before the assistant began to listen
                self.assistant.cancel()
            yield from events

    # How it is kept.

    def restored(self) -> "OpenConversation":
        """Itself, with what is kept of it.

        Raises:
            UserError: that is damaged.
        """
        assert self.kept is not None
        kept = self.kept.load()
        self.become(kept.session)
        self._restore(kept.asked, kept.extra)
        self._as_kept = self._state()
        return self

    def _restore(self, asked: Turn | None, extra: Mapping[str, Any]) -> None:
        """What the session does not hold; an answer that was being given ended with the process that gave it."""
        self._troubles = {int(index): _said(told) for index, told in extra.get("troubles", {}).items()}
        if extra.get("left"):
            self.assistant.leave_region()
        if asked is None:
            return
        index, troubles = int(extra.get("index", 0)), _said(extra.get("told", ()))
        if not extra.get("ended"):
            troubles.append(INTERRUPTED)
        if index < len(self.assistant.exchanges):
            self._troubles.setdefault(index, []).extend(troubles)
        else:
            self.in_progress = AnswerInProgress(asked, len(self.assistant.exchanges), troubles=troubles)

    def _keep(self) -> None:
        """Write what has changed since the last time; where that cannot be done, the conversation goes on without."""
        with self._keeping:
            state = self._state()
            if self.kept is None or state == self._as_kept or not (self._as_kept or self.has_begun):
                return
            try:
                self.kept.save(self._to_keep())
                begins, self._as_kept = not self._as_kept, state
            except UserError as problem:
                self.problem = problem
            except OSError as problem:
                self.problem = UserError(f"the conversation cannot be kept on disk ({system_reason(problem)}).")
            except Exception:
                self._report()
            else:
                if begins:
                    self.kept_changed()

    def _report(self) -> None:
        self.problem = secrets.token_hex(4)
        log.exception("report %s", self.problem)

    @property
    def has_begun(self) -> bool:
        """Whether something was said in it."""
        return bool(self.assistant.exchanges) or self.in_progress is not None

    def _state(self) -> tuple[object, ...]:
        """All that is kept, to be compared."""
        progress, session = self.in_progress, self.assistant.session
        told = {index: tuple(each) for index, each in self._troubles.items()}
        answer = (_Same(progress), progress and len(progress.troubles), progress and not self.busy)
        return _Same(session), _Same(self.assistant.models), self._left, told, answer

    def _to_keep(self) -> Kept:
        progress, troubles = self.in_progress, {str(index): _plain(told) for index, told in self._troubles.items()}
        extra: dict[str, Any] = {"troubles": troubles, "left": self._left}
        if progress is not None:
            extra |= {"index": progress.index, "told": _plain(progress.troubles), "ended": not self.busy}
        return Kept(self.assistant.session, self.assistant.models, None if progress is None else progress.turn, extra)

    @property
    def _left(self) -> bool:
        """Whether the next turn is not to be painted into the picture at work."""
        return self.assistant.region is None and self.assistant.session.region is not None


@dataclass(eq=False)
class _Same:
    """Something that is replaced, never changed in place: equal to itself only, whatever it would cost to compare."""

    thing: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing


def _plain(troubles: list[str | Notice]) -> list[list[str]]:
    return [["notice", each.key] if isinstance(each, Notice) else ["said", each] for each in troubles]


def _said(plain: Any) -> list[str | Notice]:
    return [Notice(text) if kind == "notice" else text for kind, text in plain]
