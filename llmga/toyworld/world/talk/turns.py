"""A turn of a conversation as data: what was said, what was shown and painted, and what is judged."""

from dataclasses import dataclass, replace

from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk.answers import LEADS, painted
from llmga.toyworld.world.talk.asked_words import Question
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.requests import Request
from llmga.toyworld.world.talk.voice import Row, Voice


@dataclass(frozen=True)
class Turn:
    """What a person says, and what is taught to be answered.

    Attributes:
        kind: a row of the module that made it, such as `change colour`, `question place`, `outside photo`.
        shown: pictures that come with the words.
        painted: one scene for every prompt of the answer.
        asked: what each of these has to hold.
        before: the picture that a change starts from.
        hidden: the thing of the one shown picture that is covered in black.
        truth, others: of questions, see `asked_words.Question`.
    """

    person: str
    answer: str
    kind: str
    language: str
    shown: tuple[Scene, ...] = ()
    painted: tuple[Scene, ...] = ()
    asked: tuple[Asked, ...] = ()
    before: Scene | None = None
    hidden: int | None = None
    truth: str = ""
    others: tuple[str, ...] = ()


Step = tuple[Turn, Gallery]


def words_only(said: tuple[str, str], kind: str, gallery: Gallery, voice: Voice) -> Step:
    """A turn that paints nothing."""
    return Turn(*said, kind, voice.language), gallery


def answered(question: Question, gallery: Gallery, voice: Voice) -> Step:
    """A question and its answer."""
    turn = Turn(question.text, question.answer, f"question {question.kind}", voice.language, truth=question.truth,
                others=question.others)  # fmt: skip
    return turn, gallery


def fulfilled(request: Request, gallery: Gallery, voice: Voice, lead: Row = LEADS) -> Step:
    """A request and the picture that answers it."""
    answer = painted([request.scene], lead, voice, request.long)
    turn = Turn(request.text, answer, f"request {request.kind}", voice.language, painted=(request.scene,),
                asked=(request.asked,))  # fmt: skip
    return turn, gallery.with_painted(request.scene)


def showing(step: Step, *scenes: Scene) -> Step:
    """The same turn with pictures."""
    turn, gallery = step
    return replace(turn, shown=scenes), gallery
