"""Requests for several pictures at once: one thing in several colours, sizes, grounds …"""

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.talk import nouns
from llmga.toyworld.world.talk.answers import SEVERAL, painted
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.completing import complete
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.lexicon import NUMBERS
from llmga.toyworld.world.talk.second_thoughts import other
from llmga.toyworld.world.talk.sentences import articles
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.turns import Step, Turn
from llmga.toyworld.world.talk.voice import Voice, row
from llmga.toyworld.world.talk.wishing import framed

VARIED = ("colour", "size", "place", "kind", "ground", "style")
SAID = row(
    ("{n} pictures of {x}: {values}", "paint {x} {n} times: {values}", "{x} in {n} pictures: {values}",
     "{n} versions of {x}, one each: {values}", "draw {n} pictures with {x}, namely {values}",
     "please make {n} separate pictures of {x}: {values}", "show me {x} as {n} pictures, {values}"),
    ("画{n}张{x}：{values}", "{x}画{n}张：{values}", "{n}张图，都是{x}：{values}", "请画{n}张图，{x}，分别是{values}",
     "做{n}个版本的{x}：{values}", "给我{n}张{x}的图：{values}", "{x}，分成{n}张：{values}"),
)  # fmt: skip
KINDS_SAID = row(
    ("{n} pictures: {values}", "paint {values}, each in a picture of its own", "{n} separate pictures, {values}",
     "one picture each: {values}", "please draw {n} pictures: {values}"),
    ("{n}张图：{values}", "画{values}，每样一张", "分开画{n}张：{values}", "各画一张：{values}",
     "请画{n}张图，分别是{values}"),
)  # fmt: skip


def several(gallery: Gallery, voice: Voice, kind: str = "") -> Step:
    """Two or three pictures that differ in one attribute."""
    while True:
        name = kind or voice.rng.choice(VARIED)
        found = _varied(name, voice.rng.choice((2, 3)), voice)
        if found is not None:
            text, asked = found
            scenes = [complete(each.wish) for each in asked]
            if all(scenes):
                break
    made = [scene for scene in scenes if scene is not None]
    turn = Turn(typed(text, voice), painted(made, SEVERAL, voice), f"several {name}", voice.language,
                painted=tuple(made), asked=tuple(asked))  # fmt: skip
    return turn, gallery.with_painted(*made)


def _varied(name: str, count: int, voice: Voice) -> tuple[str, list[Asked]] | None:
    scene = random_scene(voice.rng, 1)
    thing = {"kind": scene.things[0].kind, "colour": scene.things[0].colour}
    first = thing.get(name) or (scene.ground if name == "ground" else scene.style if name == "style" else "")
    values = [first or getattr(scene.things[0], name)]
    while len(values) < count:
        value = other(name, values[-1], voice.rng)
        values += [value] if value not in values else []
    number = NUMBERS[voice.language][count]
    if name in ("ground", "style"):
        asked = [Asked(framed(Wish((thing,)), name, value)) for value in values]
    else:
        asked = [Asked(Wish(({**thing, name: value},))) for value in values]
    if name == "kind":
        said = [nouns.wished(each.wish.things[0], voice) for each in asked]
        return articles(voice.pick(KINDS_SAID, n=number, values=_listed(said, voice))), asked
    thing.pop(name, None)
    words = [_said(name, value, voice) for value in values]
    return articles(voice.pick(SAID, n=number, x=nouns.wished(thing, voice), values=_listed(words, voice))), asked


def _said(name: str, value: str, voice: Voice) -> str:
    if name == "ground":
        said = nouns.ground(value, voice)
        return f"before {said}" if voice.is_english else f"背景{said}"
    if name == "style":
        return f"in {nouns.word(value, voice)} style" if voice.is_english else f"{nouns.word(value, voice)}风格"
    if name == "place":
        return nouns.place(value, voice)
    return nouns.word(value, voice) + ("" if voice.is_english or name != "size" else "的")


def _listed(words: list[str], voice: Voice) -> str:
    between, last = (", ", " and ") if voice.is_english else ("、", "和")
    return last.join([between.join(words[:-1]), words[-1]])
