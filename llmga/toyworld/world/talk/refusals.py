"""What is asked for and cannot be done to this picture, or to none: it is said, and nothing is painted."""

from collections.abc import Callable
from dataclasses import replace

from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.sampling import is_visible, random_scene
from llmga.toyworld.world.scene import MOST_THINGS
from llmga.toyworld.world.talk import lexicon, nouns
from llmga.toyworld.world.talk.change_phrases import SAID
from llmga.toyworld.world.talk.changes import around
from llmga.toyworld.world.talk.courtesies import opener
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.open_questions import open_question
from llmga.toyworld.world.talk.sentences import articles, body
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.turns import Step, Turn
from llmga.toyworld.world.talk.voice import Voice

Said = tuple[str, str]
# Reason -> what is answered, by language.
ANSWERS: dict[str, dict[str, str]] = {
    "no picture yet": {"en": "There is no picture yet. What shall I paint?", "zh": "还没有图呢。想让我画什么？"},
    "no earlier picture": {"en": "There is no earlier picture.", "zh": "没有更早的图了。"},
    "not in the picture": {"en": "There is no {x} in the picture.", "zh": "图里没有{x}。"},
    "no room": {"en": "There is room for three things only. Shall I take one away?",
    "zh": "图里最多放三个东西。要去掉一个吗？"},
    "largest": {"en": "That is as large as I can draw it.", "zh": "已经是最大的了。"},
    "smallest": {"en": "That is as small as I can draw it.", "zh": "已经是最小的了。"},
    "takes two": {"en": "That takes two things, and there is only one.", "zh": "那需要两个东西，图里只有一个。"},
    "not seen": {"en": "{X} could not be seen on that background. Choose another colour or background.",
                 "zh": "{x}在这个背景上看不见。换个颜色或背景吧。"},
}  # fmt: skip
ABOUT_IT = ("colour", "size", "bigger", "smaller", "place", "remove", "pattern")


def _asks(kind: str, voice: Voice, **words: str) -> str:
    said = voice.pick(SAID[kind], **words)
    return articles(said) if voice.is_english else said


def _answer(reason: str, voice: Voice, x: str = "") -> str:
    return ANSWERS[reason][voice.language].format(x=x, X=x[:1].upper() + x[1:])


def _of(kind: str, it: str, voice: Voice) -> str:
    """A change of a kind to something, whatever it is."""
    values = {"colour": "red", "size": "large", "place": "top", "pattern": "striped"}
    value = values.get(kind, "")
    said = nouns.place(value, voice) if kind == "place" else nouns.word(value, voice) if value else ""
    return _asks(kind, voice, it=it, x=said)


def _nothing_yet(gallery: Gallery, voice: Voice) -> Said | None:
    if gallery.painted or gallery.shown:
        return None
    if voice.chance(0.5):
        question = open_question(random_scene(voice.rng, 1), voice, voice.rng.choice(("ground", "things", "style")))
        return (question.text, _answer("no picture yet", voice)) if question else None
    kind = voice.rng.choice((*ABOUT_IT, "back", "first", "again"))
    said = _of(kind, voice.pick(nouns.IT), voice) if kind in ABOUT_IT else _asks(kind, voice)
    return said, _answer("no picture yet", voice)


def _no_earlier(gallery: Gallery, voice: Voice) -> Said | None:
    if len(gallery.painted) != 1 or not gallery.is_own:
        return None
    return _asks("back", voice), _answer("no earlier picture", voice)


def _absent(gallery: Gallery, voice: Voice) -> Said | None:
    if gallery.now is None or not gallery.now.things:
        return None
    kind = voice.rng.choice([kind for kind in KINDS if kind not in gallery.now.counts()])
    noun = nouns.word(kind, voice)
    asked = _of(voice.rng.choice(ABOUT_IT), f"the {noun}" if voice.is_english else noun, voice)
    return asked, _answer("not in the picture", voice, lexicon.WORDS[voice.language][kind][0])


def _full(gallery: Gallery, voice: Voice) -> Said | None:
    if gallery.now is None or len(gallery.now.things) < MOST_THINGS:
        return None
    named = {"kind": voice.rng.choice(list(KINDS)), "colour": voice.rng.choice(list(COLOURS))}
    return _asks("add", voice, x=nouns.wished(named, voice)), _answer("no room", voice)


def _at_the_end(size: str, kind: str, reason: str) -> Callable[[Gallery, Voice], Said | None]:
    def ask(gallery: Gallery, voice: Voice) -> Said | None:
        if gallery.now is None:
            return None
        ends = [number for number, thing in enumerate(gallery.now.things) if thing.size == size]
        if not ends:
            return None
        it = nouns.refer(gallery.now, voice.rng.choice(ends), voice)
        return _asks(kind, voice, it=it), _answer(reason, voice)

    return ask


def _alone(gallery: Gallery, voice: Voice) -> Said | None:
    if gallery.now is None or len(gallery.now.things) != 1:
        return None
    kind = voice.rng.choice(("swap colours", "swap places"))
    kinds = [kind for kind in KINDS if kind not in gallery.now.counts()]
    words = {"it": nouns.refer(gallery.now, 0, voice, pronoun=False)}
    noun = nouns.word(voice.rng.choice(kinds), voice)
    words["other"] = f"the {noun}" if voice.is_english else noun
    return _asks(kind, voice, **words), _answer("takes two", voice)


def _unseen(gallery: Gallery, voice: Voice) -> Said | None:
    scene = gallery.now
    if scene is None or not scene.things:
        return None
    index = voice.rng.randrange(len(scene.things))
    if voice.chance(0.5):
        colours = [colour for colour in COLOURS if not is_visible(colour, scene.ground)]
        if not colours:
            return None
        colour = voice.rng.choice(colours)
        asked = _asks("colour", voice, it=nouns.refer(scene, index, voice), x=nouns.word(colour, voice))
    else:
        colour = scene.things[index].colour
        others = [thing.colour for thing in scene.things if thing.colour != colour]
        grounds = [ground for ground in GROUNDS if not is_visible(colour, ground)
                   and all(is_visible(other, ground) for other in others)]  # fmt: skip
        if not grounds:
            return None
        asked = _asks("ground", voice, x=nouns.ground(voice.rng.choice(grounds), voice))
    return asked, _answer("not seen", voice, lexicon.WORDS[voice.language][colour][0])


def _unseen_wish(gallery: Gallery, voice: Voice) -> Said | None:
    """A whole wish for something that its background would swallow."""
    if gallery.now is not None:
        return None
    pairs = [(colour, ground) for colour in COLOURS for ground in GROUNDS if not is_visible(colour, ground)]
    colour, ground = voice.rng.choice(pairs)
    wish = Wish(({"kind": voice.rng.choice(list(KINDS)), "colour": colour},), ground=ground)
    return body(wish, voice, opener(voice)), _answer("not seen", voice, lexicon.WORDS[voice.language][colour][0])


# Reason -> something that is asked for in spite of it; None where the picture gives no such reason.
REASONS: dict[str, Callable[[Gallery, Voice], Said | None]] = {
    "no picture yet": _nothing_yet,
    "no earlier picture": _no_earlier,
    "not in the picture": _absent,
    "no room": _full,
    "largest": _at_the_end("large", "bigger", "largest"),
    "smallest": _at_the_end("small", "smaller", "smallest"),
    "takes two": _alone,
    "not seen": _unseen,
    "not seen, first wish": _unseen_wish,
}


def refused(gallery: Gallery, voice: Voice, reason: str) -> Step | None:
    """A turn of a row of `REASONS`; None when the picture gives no such reason."""
    said = REASONS[reason](gallery, voice)
    if said is None:
        return None
    text, answer = said
    if reason not in ("no picture yet", "not seen, first wish"):
        text = around(text, voice)
    turn = Turn(typed(text, voice), answer, f"refused {reason}", voice.language)
    return replace(turn, before=gallery.now), gallery
