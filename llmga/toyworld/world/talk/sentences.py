"""From a wish to words: clauses for things, ground and style, put together in any order."""

import re
from collections.abc import Mapping

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.talk import nouns
from llmga.toyworld.world.talk.lexicon import SETTINGS
from llmga.toyworld.world.talk.voice import Voice, row

# What the background is, as an adjective, and as a thing of its own.
COLOURED = row(
    ("on a {x} background", "with a {x} background", "the background is {x}", "against {x}", "on {x}",
     "background {x}", "with {x} behind it", "the backdrop should be {x}", "on {x} paper", "the ground is {x}"),
    ("背景是{x}", "用{x}做背景", "背景为{x}", "底子要{x}", "底色是{x}", "后面是{x}", "{x}的背景", "配{x}的背景",
     "背景用{x}"),
)  # fmt: skip
BEHIND_IT = row(
    ("the background is {x}", "with {x} behind it", "against {x}", "with {x} in the background", "and behind it {x}",
     "the backdrop should be {x}", "in front of {x}", "set it before {x}"),
    ("背景是{x}", "后面是{x}", "用{x}做背景", "背景为{x}", "背后要{x}", "{x}的背景", "以{x}为背景"),
)  # fmt: skip
STYLE = row(
    ("in a {x} style", "{x} style", "drawn in {x} style", "the style should be {x}", "make the style {x}",
     "please keep to a {x} style", "{x} please"),
    ("{x}风格", "用{x}风格", "风格是{x}", "画成{x}风格", "要{x}的风格", "采用{x}画风"),
)  # fmt: skip
PLACED = row(
    ("{thing} {place}", "{thing} {place}", "{thing}, {place}", "{place} {thing}", "{place}: {thing}",
     "{thing} that sits {place}", "{thing} standing {place}", "{thing} right {place}", "{thing}, put {place}"),
    ("{place}有{thing}", "{place}画{thing}", "{thing}在{place}", "{thing}，放在{place}", "{place}是{thing}",
     "{thing}，位置在{place}", "{place}放{thing}", "{thing}，摆在{place}"),
)  # fmt: skip
RELATED = row(
    ("{a} {rel} {b}", "{a} {rel} {b}", "{a}, {rel} {b}", "{a} which is {rel} {b}", "{b}, and {rel} it {a}",
     "{a} placed {rel} {b}", "{b} with {a} {rel} it"),
    ("{a}在{b}的{rel}", "{b}的{rel}有{a}", "{b}，它的{rel}有{a}", "{a}，在{b}的{rel}", "{b}的{rel}画{a}",
     "{b}的{rel}放{a}", "{a}，位于{b}的{rel}"),
)  # fmt: skip
ALSO = row(
    ("and", "and", "with", "plus", "together with", "as well as", "next to that"),
    ("和", "还有", "，还有", "，再加上", "以及"),
)
FRAMES = row(
    ("{things} {ground} {style}", "{things} {ground}, {style}", "{things}, {ground}, {style}",
     "{ground}, {things}, {style}", "{style}: {things} {ground}", "{things}. {ground}. {style}",
     "{ground} {things} {style}", "{style}, {ground}, {things}", "{things}; {ground}; {style}",
     "{ground}: {things}. {style}", "{style}. {ground}. {things}"),
    ("{things}，{ground}，{style}", "{ground}，{things}，{style}", "{style}，{things}，{ground}",
     "{things}。{ground}。{style}", "{things}，{style}，{ground}", "{ground}。{things}。{style}",
     "{style}。{ground}。{things}"),
)  # fmt: skip


def body(wish: Wish, voice: Voice, opener: str = "") -> str:
    """All that a wish names; what asks for it stands before the things."""
    between = " " if voice.is_english else ""
    said = {"things": between.join(filter(None, [opener, things(wish, voice)])), "ground": "", "style": ""}
    if wish.ground:
        said["ground"] = ground(wish.ground, voice)
    if wish.style:
        said["style"] = voice.pick(STYLE, x=nouns.word(wish.style, voice))
    return articles(tidy(voice.pick(FRAMES, **said), voice))


def ground(value: str, voice: Voice) -> str:
    """Where it all is."""
    if value in SETTINGS:
        if voice.chance(0.7):
            return voice.rng.choice(SETTINGS[value][0 if voice.is_english else 1])
        return voice.pick(BEHIND_IT, x=nouns.ground(value, voice))
    return voice.pick(COLOURED, x=nouns.ground(value, voice))


def things(wish: Wish, voice: Voice) -> str:
    """The things of a wish, with their places or relations."""
    if not wish.things:
        return "nothing at all" if voice.is_english else "什么都不画"
    said = [nouns.wished(thing, voice) for thing in wish.things]
    clauses: list[str] = []
    used: set[int] = set()
    for one, word, other in wish.relations:
        clauses.append(_related(one, word, other, said, used, wish, voice))
        used |= {one, other}
    for number, thing in enumerate(wish.things):
        if number not in used:
            alike = [n for n in range(number, len(wish.things)) if wish.things[n] == thing and n not in used]
            used |= set(alike)
            clauses.append(placed(nouns.wished(thing, voice, len(alike)), thing, voice))
    return _joined(clauses, voice)


def placed(said: str, thing: Mapping[str, str], voice: Voice) -> str:
    """A thing, and its place if one was named."""
    if not thing.get("place"):
        return said
    return voice.pick(PLACED, thing=said, place=nouns.place(thing["place"], voice))


def _related(
    one: int, word: str, other: int, said: list[str], used: set[int], wish: Wish, voice: Voice
) -> str:  # fmt: skip
    """One relation; what was named before is called by its kind."""
    a, b = (_known(wish.things[n], voice) if n in used else said[n] for n in (one, other))
    if other not in used and wish.things[other].get("place"):
        b = f"{b} {nouns.place(wish.things[other]['place'], voice)}" if voice.is_english else b
        if not voice.is_english:
            b = f"{nouns.place(wish.things[other]['place'], voice)}的{b}"
    return voice.pick(RELATED, a=a, b=b, rel=nouns.relation(word, voice))


def _known(thing: Mapping[str, str], voice: Voice) -> str:
    noun = nouns.word(thing["kind"], voice)
    colour = nouns.word(thing["colour"], voice) if thing.get("colour") else ""
    if voice.is_english:
        return " ".join(filter(None, ["the", colour, noun]))
    return f"{colour and colour + '的'}{noun}"


def _joined(clauses: list[str], voice: Voice) -> str:
    between, last = (", ", f" {voice.pick(ALSO)} ") if voice.is_english else ("，", voice.pick(ALSO))
    if len(clauses) == 1:
        return clauses[0]
    return last.join([between.join(clauses[:-1]), clauses[-1]])


def articles(text: str) -> str:
    """`an` before vowels."""
    return re.sub(r"\b([aA]) (?=[aeiou])", r"\1n ", text)


_MARKS = {"en": ",.;:", "zh": "，。；："}


def tidy(text: str, voice: Voice) -> str:
    """A text without what open clauses leave behind: doubled spaces, hanging marks."""
    marks = _MARKS[voice.language]
    parts: list[str] = []
    for letter in " ".join(text.split()):
        if letter in marks and (not parts or parts[-1].strip() in (*marks, "")):
            while parts and parts[-1] == " ":
                parts.pop()
            if not parts or parts[-1] in marks:
                continue
        parts.append(letter)
    return "".join(parts).strip(" " + marks)
