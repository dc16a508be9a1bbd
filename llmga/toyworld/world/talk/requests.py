"""Requests for a picture: what is typed, what it asks for, and a scene that answers it."""

from dataclasses import dataclass, replace

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.sampling import is_held_out, random_scene
from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.completing import complete
from llmga.toyworld.world.talk.courtesies import around, opener
from llmga.toyworld.world.talk.loosely import loosely
from llmga.toyworld.world.talk.second_thoughts import corrected, negated, say, values
from llmga.toyworld.world.talk.sentences import body, tidy
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Voice, row
from llmga.toyworld.world.talk.wishing import partial, whole

# Form of a request -> how often it is chosen.
FORMS = {"framed": 58, "keywords": 14, "keyed": 6, "corrected": 8, "negated": 8, "loose": 4, "whole": 6}
KEYS = {
    "en": {"kind": "thing", "colour": "colour", "size": "size", "pattern": "pattern", "place": "place",
           "ground": "background", "style": "style"},
    "zh": {"kind": "内容", "colour": "颜色", "size": "大小", "pattern": "花纹", "place": "位置", "ground": "背景",
           "style": "风格"},
}  # fmt: skip
IN_DETAIL = row(
    ("in full detail", "with a long description", "describe every detail", "be very detailed", "say everything twice",
     "as detailed as you can", "write a long prompt"),
    ("请写得非常详细", "描述要详细", "越详细越好", "请用很长的描述", "每个细节都写出来", "提示词写长一点"),
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        text: as it is typed.
        asked: what the picture has to hold.
        scene: one that holds it.
        kind: the form, a row of `FORMS` or what other modules name.
        long: whether a prompt in all detail is asked for.
    """

    text: str
    language: str
    asked: Asked
    scene: Scene
    kind: str
    long: bool = False


def request(voice: Voice, things: int | None = None, *, held_out: bool = False, form: str = "", long: float = 0.0
            ) -> Request:  # fmt: skip
    """A request about a random scene.

    Args:
        things: how many; default one to three.
        held_out: only for scenes with pairs of attributes that training never sees.
        form: a row of `FORMS`; default: as often as that says.
        long: share of the requests for several things that ask for a prompt in all detail: that of one thing would
            fit into 77 tokens.
    """
    while True:
        scene = random_scene(voice.rng, things, held_out=held_out)
        made = _of(scene, voice, form or voice.rng.choices(list(FORMS), list(FORMS.values()))[0], held_out)
        if made is not None:
            return _in_detail(made, voice) if len(made.scene.things) > 1 and voice.chance(long) else made


def _in_detail(made: Request, voice: Voice) -> Request:
    between = ", " if voice.is_english else "，"
    text = made.text.rstrip(".!。！") + between + voice.pick(IN_DETAIL)
    return replace(made, text=text, long=True)


def _of(scene: Scene, voice: Voice, form: str, held_out: bool) -> Request | None:
    wish = whole(scene) if form == "whole" else partial(scene, voice.rng)
    text, asked = body(wish, voice, opener(voice)), Asked(wish)
    if form in ("keywords", "keyed"):
        if len(wish.things) > 1:
            return None
        text = _keywords(wish, voice) if form == "keywords" else _keyed(wish, voice)
    elif form == "corrected":
        text = corrected(wish, voice)
    elif form == "negated":
        text, asked = negated(wish, voice)
    meant = asked.wish
    if form == "loose":
        loose = loosely(wish, voice)
        if loose is None:
            return None
        text, asked, meant = loose
    answer = complete(meant, asked.never, held_out=held_out)
    if not text or answer is None or (held_out and not is_held_out(answer)):
        return None
    text = text if form in ("keywords", "keyed") else around(text, voice)
    return Request(typed(tidy(text, voice), voice), voice.language, asked, answer, form)


def _keywords(wish: Wish, voice: Voice) -> str:
    """A few bare words in any order; colour and kind stay together, or a colour may be the ground's."""
    named = values(wish)
    thing = " ".join(say(name, named.pop(name), voice) for name in ("colour", "kind") if name in named)
    background = "background" if voice.is_english else "背景"
    pieces = [f"{say(name, value, voice)} {background if name == 'ground' else ''}".strip()
              for name, value in named.items()]  # fmt: skip
    pieces.append(thing)
    voice.rng.shuffle(pieces)
    between = voice.rng.choice((" ", ", ", ", ", " / ") if voice.is_english else (" ", "，", "、"))
    return between.join(filter(None, pieces))


def _keyed(wish: Wish, voice: Voice) -> str:
    """`colour: red, thing: star`."""
    items = list(values(wish).items())
    voice.rng.shuffle(items)
    colon, between = (": ", ", ") if voice.is_english else ("：", "，")
    return between.join(f"{KEYS[voice.language][name]}{colon}{say(name, value, voice)}" for name, value in items)
