"""Second thoughts within a request: a value put right, a value that must not be."""

import random
from dataclasses import replace

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.scene import ATTRIBUTES, STYLES
from llmga.toyworld.world.talk import nouns
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.completing import complete
from llmga.toyworld.world.talk.courtesies import opener
from llmga.toyworld.world.talk.lexicon import GROUNDS
from llmga.toyworld.world.talk.sentences import body
from llmga.toyworld.world.talk.voice import Voice, row
from llmga.toyworld.world.talk.wishing import framed

CORRECTIONS = row(
    (", no wait, {x}", ", no, {x}", ". sorry, i mean {x}", ", i mean {x}", ". actually, {x}", "... hmm, {x} instead",
     ", or rather {x}", ". no, make that {x}", ", correction: {x}", ". i changed my mind: {x}", ". scratch that, {x}",
     ", oops, {x}", ". on second thought {x}"),
    ("，不对，{x}", "，不，{x}", "。抱歉，我是说{x}", "，我是说{x}", "。其实要{x}", "，更正：{x}", "，还是{x}吧",
     "。我改主意了，{x}", "，说错了，{x}"),
)  # fmt: skip
NEGATIONS = row(
    ("but not {x}", ", not {x}", ", anything but {x}", ", please no {x}", ", it must not be {x}", ". avoid {x}",
     ". i don't like {x}", ", never {x}", ", just not {x}", ". without {x} please"),
    ("，但不要{x}", "，不要{x}", "，只要不是{x}就行", "，别用{x}", "，千万别{x}", "，我不喜欢{x}", "，避免{x}",
     "，除了{x}都行"),
)  # fmt: skip


def values(wish: Wish) -> dict[str, str]:
    """What is named of a single thing and what is around it."""
    frame = {"ground": wish.ground, "style": wish.style}
    return {**wish.things[0], **{name: value for name, value in frame.items() if value}}


def say(name: str, value: str, voice: Voice) -> str:
    if name == "place":
        return nouns.place(value, voice)
    return nouns.ground(value, voice) if name == "ground" else nouns.word(value, voice)


def other(name: str, value: str, rng: random.Random) -> str:
    """Another value of an attribute, of the ground or of the style."""
    known = {**ATTRIBUTES, "ground": tuple(GROUNDS["en"]), "style": STYLES}[name]
    return rng.choice([each for each in known if each not in (value, "plain")])


def corrected(wish: Wish, voice: Voice) -> str:
    """A slip of the tongue in one value, put right at the end."""
    if len({tuple(thing.items()) for thing in wish.things}) > 1:
        options = ["ground"] if wish.ground else []  # of two things nobody knows which one is put right
    else:
        options = [name for name in values(wish) if name != "place" or len(wish.things) == 1]
    if not options:
        return ""
    name = voice.rng.choice(options)
    right = values(wish)[name]
    wrong = other(name, right, voice.rng)
    if name in ("ground", "style"):
        slip = framed(wish, name, wrong)
    else:
        slip = replace(wish, things=tuple({**thing, name: wrong} for thing in wish.things))
    fix = say(name, right, voice)
    if name == "ground":
        fix = f"{fix} as the background" if voice.is_english else f"背景是{fix}"
    return body(slip, voice, opener(voice)) + voice.pick(CORRECTIONS, x=fix)


def negated(wish: Wish, voice: Voice) -> tuple[str, Asked]:
    """What is left open, with one value that must not be: half of the time the one that people would expect."""
    kinds = {thing.get("kind", "") for thing in wish.things}
    usual = complete(wish)
    if len(kinds) > 1 or usual is None:
        return "", Asked(wish)
    open_names = [name for name in ("colour", "size", "place") if name not in wish.things[0]]
    open_names += [] if wish.ground else ["ground"]
    if len(wish.things) > 1:
        open_names = [name for name in open_names if name != "place"]
    if not open_names:
        return "", Asked(wish)
    name = voice.rng.choice(open_names)
    expected = usual.ground if name == "ground" else getattr(usual.things[0], name)
    value = expected if voice.chance(0.5) else other(name, expected, voice.rng)
    numbers = (-1,) if name == "ground" else range(len(wish.things))
    said = say(name, value, voice)
    if name == "ground":
        said = f"{said} as the background" if voice.is_english else f"{said}背景"
    unwanted = voice.pick(NEGATIONS, x=said)
    between = " " if voice.is_english and unwanted[0] not in ",." else ""
    return f"{body(wish, voice, opener(voice))}{between}{unwanted}", Asked(
        wish, tuple((n, name, value) for n in numbers)
    )
