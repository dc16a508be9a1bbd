"""Conversations of one to thirty turns: a state machine over the pictures so far."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmga.toyworld.world.talk.answers import BACK, CHANGED, SIMILAR, painted
from llmga.toyworld.world.talk.changes import CHANGES, change
from llmga.toyworld.world.talk.courtesies import around, opener
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.holes import filled
from llmga.toyworld.world.talk.outside import OUTSIDE, outside
from llmga.toyworld.world.talk.questions import describe, question
from llmga.toyworld.world.talk.refusals import REASONS, refused
from llmga.toyworld.world.talk.requests import Request, request
from llmga.toyworld.world.talk.sentences import body
from llmga.toyworld.world.talk.several import several
from llmga.toyworld.world.talk.shown_pictures import one, two
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.smalltalk import TALK, talk
from llmga.toyworld.world.talk.stories import book, story
from llmga.toyworld.world.talk.turns import Step, Turn, answered, fulfilled, words_only
from llmga.toyworld.world.talk.vague import vague
from llmga.toyworld.world.talk.voice import LANGUAGES, TRAIN, Voice, row
from llmga.toyworld.world.talk.wishing import whole

MOST_TURNS = 30
# Turns of a conversation -> how often.
LENGTHS = {1: 30, 2: 16, 3: 12, 4: 8, 5: 6, 6: 6, 8: 6, 10: 5, 14: 4, 20: 4, 30: 3}
OTHER_TONGUE = 0.03  # how often somebody goes on in the other language
SHOWN = (6, 2, 2)  # how often one picture is shown, two, and one with a hole
# Few pictures allow these changes: so much more often are they tried.
SELDOM = {
    "only one": 5,
    "swap colours": 3,
    "swap places": 5,
    "beside": 3,
    "remove": 2,
    "two of them": 2,
    "three of them": 2,
}
LEADS_OF = {"back": BACK, "first": BACK, "again": SIMILAR}
# A new wish in the middle of a conversation says that it is one.
NEW = row(
    ("a new picture: {x}", "something else now: {x}", "forget that, {x}", "next picture, {x}",
     "now something new, {x}", "start over: {x}", "and now for something different: {x}"),
    ("新的一张：{x}", "换一个：{x}", "先不管那张，{x}", "下一张，{x}", "现在画新的，{x}", "重新开始：{x}",
     "再来点别的：{x}"),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What conversations are like.

    Attributes:
        long: share of the requests for several things that ask for a prompt in all detail (over 77 tokens).
        chinese: share of the conversations that begin in Chinese.
        pictures: whether pictures are shown.
        turns: of the longest; picture books have up to seven.
    """

    long: float = 0.12
    chinese: float = 0.4
    pictures: bool = True
    turns: int = MOST_TURNS


PLAN = Plan()


def _request(gallery: Gallery, voice: Voice, plan: Plan) -> Step | None:
    made = request(voice, long=plan.long)
    return fulfilled(made if gallery.now is None else _renewed(made, voice), gallery, voice)


def _renewed(made: Request, voice: Voice) -> Request:
    """A wish that cannot be taken for a change: it says that it is new, or everything by an order to paint."""
    if voice.chance(0.6):
        text = voice.pick(NEW, x=made.text[:1].lower() + made.text[1:] if not made.text.isupper() else made.text)
        return replace(made, text=text)
    wish = whole(made.scene)
    order = opener(voice) or ("draw" if voice.is_english else "请画")
    text = typed(around(body(wish, voice, order), voice), voice)
    return replace(made, text=text, asked=replace(made.asked, wish=wish), kind="whole", long=False)


def _vague(gallery: Gallery, voice: Voice, plan: Plan) -> Step | None:
    made = vague(voice)
    if gallery.now is not None:
        made = replace(made, text=voice.pick(NEW, x=made.text))
    return fulfilled(made, gallery, voice)


def _change(gallery: Gallery, voice: Voice, plan: Plan) -> Step | None:
    if gallery.now is None:
        return None
    kinds = (*CHANGES, "both")
    kind = voice.rng.choices(kinds, [SELDOM.get(each, 1) for each in kinds])[0]
    made = change(gallery, voice, kind)
    if made is None:
        return None
    answer = painted([made.scene], LEADS_OF.get(kind, CHANGED), voice)
    turn = Turn(made.text, answer, f"change {kind}", voice.language, painted=(made.scene,), asked=(made.asked,),
                before=gallery.now)  # fmt: skip
    return turn, gallery.with_painted(made.scene)


def _question(gallery: Gallery, voice: Voice, plan: Plan) -> Step | None:
    if gallery.now is None or not gallery.now.things:
        return None
    asked = describe(gallery.now, voice, own=gallery.is_own) if voice.chance(0.2) else question(gallery.now, voice)
    return answered(asked, gallery, voice)


def _talk(gallery: Gallery, voice: Voice, plan: Plan) -> Step | None:
    kind = voice.rng.choice(list(TALK))
    return words_only(talk(voice, kind), f"talk {kind}", gallery, voice)


def _outside(gallery: Gallery, voice: Voice, plan: Plan) -> Step | None:
    kind = voice.rng.choice(list(OUTSIDE))
    return words_only(outside(voice, kind), f"outside {kind}", gallery, voice)


def _refused(gallery: Gallery, voice: Voice, plan: Plan) -> Step | None:
    return refused(gallery, voice, voice.rng.choice(list(REASONS)))


def _shown(gallery: Gallery, voice: Voice, plan: Plan) -> Step | None:
    if not plan.pictures:
        return None
    return voice.rng.choices((one, two, filled), SHOWN)[0](gallery, voice)


# What may happen in a turn -> (how often in the first, how often later, how).
STEPS: dict[str, tuple[float, float, Callable[[Gallery, Voice, Plan], Step | None]]] = {
    "request": (44, 10, _request),
    "vague": (9, 2, _vague),
    "change": (0, 44, _change),
    "question": (0, 14, _question),
    "talk": (10, 8, _talk),
    "outside": (10, 7, _outside),
    "refused": (6, 10, _refused),
    "shown": (20, 10, _shown),
    "several": (4, 2, lambda gallery, voice, plan: several(gallery, voice)),
    "story": (3, 1, lambda gallery, voice, plan: story(gallery, voice)),
}


def dialogue(voice: Voice, turns: int, plan: Plan = PLAN) -> list[Turn]:
    """A conversation of so many turns; every change can be told from what was said and shown before."""
    said: list[Turn] = []
    gallery = Gallery()
    while len(said) < turns:
        speaker = voice
        if voice.chance(OTHER_TONGUE):
            speaker = replace(voice, language=LANGUAGES[1 - LANGUAGES.index(voice.language)])
        step = _next(gallery, speaker, plan, first=not said)
        if step is not None:
            turn, gallery = step
            said.append(turn)
    return said


def _next(gallery: Gallery, voice: Voice, plan: Plan, first: bool) -> Step | None:
    weights = [at_first if first else later for at_first, later, _ in STEPS.values()]
    name = voice.rng.choices(list(STEPS), weights)[0]
    return STEPS[name][2](gallery, voice, plan)


BOOKS = 0.02  # share of the conversations that are picture books


def conversation(voice: Voice, plan: Plan = PLAN) -> list[Turn]:
    """A conversation as training has them, of any length, or a picture book."""
    if voice.chance(BOOKS):
        return book(voice)
    return dialogue(voice, min(plan.turns, voice.rng.choices(list(LENGTHS), list(LENGTHS.values()))[0]), plan)


def speaker(rng: random.Random, plan: Plan = PLAN, split: str = TRAIN) -> Voice:
    """Somebody who speaks one of the languages."""
    return Voice("zh" if rng.random() < plan.chinese else "en", rng, split)
