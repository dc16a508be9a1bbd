"""What is judged, a row for every bar: how a case of it is made."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.talk.answers import CHANGED, painted
from llmga.toyworld.world.talk.changes import CHANGES, change
from llmga.toyworld.world.talk.dialogues import LEADS_OF, MOST_TURNS, Plan, dialogue
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.guesses import guess
from llmga.toyworld.world.talk.holes import filled
from llmga.toyworld.world.talk.open_questions import open_question
from llmga.toyworld.world.talk.outside import OUTSIDE, outside
from llmga.toyworld.world.talk.question_phrases import GUESSED, OPEN
from llmga.toyworld.world.talk.questions import describe
from llmga.toyworld.world.talk.refusals import REASONS, refused
from llmga.toyworld.world.talk.requests import request
from llmga.toyworld.world.talk.several import several
from llmga.toyworld.world.talk.shown_pictures import of_one_colour, similar, two
from llmga.toyworld.world.talk.smalltalk import TALK, talk
from llmga.toyworld.world.talk.stories import story
from llmga.toyworld.world.talk.turns import Step, Turn, answered, fulfilled, showing, words_only
from llmga.toyworld.world.talk.vague import vague
from llmga.toyworld.world.talk.voice import TEST, Voice

Turns = list[Turn]


class Case(NamedTuple):
    """A conversation and the turns of it that are judged."""

    turns: Turns
    judged: tuple[int, ...]


def _last(*steps: Turn) -> Case:
    return Case(list(steps), (len(steps) - 1,))


def _requested(things: int, related: bool = False, held_out: bool = False) -> Callable[[Voice], Case]:
    """A request for so many things."""

    def make(voice: Voice) -> Case:
        while True:
            made = request(voice, things, held_out=held_out)
            if made.asked.wish.relations or not related:
                return _last(fulfilled(made, Gallery(), voice)[0])

    return make


def _in(language: str, split: str, make: Callable[[Voice], Case]) -> Callable[[Voice], Case]:
    """The same in a certain language and split of phrasings."""
    return lambda voice: make(replace(voice, language=language, split=split))


def _either(make: Callable[[Voice], Case]) -> Callable[[Voice], Case]:
    """The same in either language."""
    return lambda voice: make(replace(voice, language=voice.rng.choice(("en", "zh"))))


def _long_prompt(voice: Voice) -> Case:
    return _last(fulfilled(request(voice, voice.rng.choice((2, 3)), form="whole", long=1.0), Gallery(), voice)[0])


def _yes_no(right: bool) -> Callable[[Voice], Case]:
    def make(voice: Voice) -> Case:
        while True:
            scene = of_one_colour(random_scene(voice.rng), voice)
            found = guess(scene, voice, voice.rng.choice(list(GUESSED)), right)
            if found is not None:
                return _last(showing(answered(found, Gallery(), voice), scene)[0])

    return make


def _open(voice: Voice) -> Case:
    while True:
        scene = random_scene(voice.rng)
        found = open_question(scene, voice, voice.rng.choice(list(OPEN)))
        if found is not None:
            return _last(showing(answered(found, Gallery(), voice), scene)[0])


def _described(least: int, most: int) -> Callable[[Voice], Case]:
    """A picture is shown after so many turns, and described."""

    def make(voice: Voice) -> Case:
        before = dialogue(voice, voice.rng.randint(least, most), Plan(pictures=least > 0))
        scene = random_scene(voice.rng)
        return _last(*before, showing(answered(describe(scene, voice), Gallery(), voice), scene)[0])

    return make


def _own(voice: Voice) -> Case:
    """A question about a picture that was painted."""
    while True:
        first, gallery = fulfilled(request(voice), Gallery(), voice)
        if gallery.now is None or not gallery.now.things:
            continue
        right = voice.chance(0.5)
        kind = voice.rng.choice((*GUESSED, *OPEN))
        found = guess(gallery.now, voice, kind, right) if kind in GUESSED else open_question(gallery.now, voice, kind)
        if found is not None:
            return _last(first, answered(found, gallery, voice)[0])


def _changed(kind: str) -> Callable[[Voice], Case]:
    """A change of a kind, to the picture that a request or two have led to."""

    def make(voice: Voice) -> Case:
        while True:
            turns, gallery = [], Gallery()
            for _ in range(3 if kind in ("back", "first") else 1):
                turn, gallery = fulfilled(request(voice), gallery, voice)
                turns.append(turn)
            made = change(gallery, voice, kind)
            if made is not None:
                answer = painted([made.scene], LEADS_OF.get(kind, CHANGED), voice)
                last = Turn(made.text, answer, f"change {kind}", voice.language, painted=(made.scene,),
                            asked=(made.asked,), before=gallery.now)  # fmt: skip
                return _last(*turns, last)

    return make


def _refusal(voice: Voice) -> Case:
    """A change that a picture does not allow."""
    while True:
        first, gallery = fulfilled(request(voice), Gallery(), voice)
        step = refused(gallery, voice, voice.rng.choice(list(REASONS)))
        if step is not None:
            return _last(first, step[0])


def _long_conversation(voice: Voice) -> Case:
    """Thirty turns without shown pictures; the first five and the last six are judged."""
    turns = dialogue(voice, MOST_TURNS, Plan(long=0.0, pictures=False))
    return Case(turns, (*range(5), *range(MOST_TURNS - 6, MOST_TURNS)))


def _stepped(step: Callable[[Gallery, Voice], Step]) -> Callable[[Voice], Case]:
    return lambda voice: _last(step(Gallery(), voice)[0])


def _similar(gallery: Gallery, voice: Voice) -> Step:
    scene = random_scene(voice.rng)
    return showing(similar(scene, gallery.with_shown(scene), voice), scene)


def _spoken(kinds: dict[str, Any], say: Callable[[Voice, str], tuple[str, str]], name: str) -> Callable[[Voice], Case]:
    """Something that paints nothing."""

    def make(voice: Voice) -> Case:
        kind = voice.rng.choice(list(kinds))
        return _last(words_only(say(voice, kind), f"{name} {kind}", Gallery(), voice)[0])

    return make


# Bar -> how a case of it is made.
BARS: dict[str, Callable[[Voice], Case]] = {
    "one thing": _requested(1),
    "two things": _requested(2, related=True),
    "three things": _requested(3),
    "held-out pairs": _requested(2, related=True, held_out=True),
    "held-out phrasings": _in("en", TEST, _requested(1)),
    "held-out phrasings, two things": _in("en", TEST, _requested(2)),
    "chinese": _in("zh", "train", _requested(1)),
    "chinese, held-out phrasings": _in("zh", TEST, _requested(1)),
    "chinese, two things": _in("zh", "train", _requested(2, related=True)),
    "chinese yes": _in("zh", "train", _yes_no(True)),
    "chinese no": _in("zh", "train", _yes_no(False)),
    "chinese change": _in("zh", "train", lambda voice: _changed(voice.rng.choice((*CHANGES, "both")))(voice)),
    "vague": lambda voice: _last(fulfilled(vague(voice), Gallery(), voice)[0]),
    "long prompts": _long_prompt,
    "yes": _yes_no(True),
    "no": _yes_no(False),
    "open questions": _open,
    "own pictures": _own,
    "shown in turn 1": _described(0, 0),
    "shown later": _described(1, 12),
    "two pictures": _stepped(two),
    "similar": _stepped(_similar),
    "fill": _stepped(filled),
    "several pictures": _stepped(several),
    "story": _stepped(story),
    "outside": _either(_spoken(OUTSIDE, outside, "outside")),
    "outside, held-out words": _in("en", TEST, _spoken(OUTSIDE, outside, "outside")),
    "small talk": _either(_spoken(TALK, talk, "talk")),
    "small talk, held-out phrasings": _in("en", TEST, _spoken(TALK, talk, "talk")),
    "refused": _refusal,
    **{f"change {kind}": _changed(kind) for kind in (*CHANGES, "both")},
    "long conversation": _long_conversation,
}
