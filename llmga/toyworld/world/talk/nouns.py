"""How things are called: with their attributes in a wish, and told apart in a picture that is there."""

import re
from collections.abc import Mapping

from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk.lexicon import BESIDE, COUNTS, GROUNDS, MEASURES, NUMBERS, WHERE, WORDS
from llmga.toyworld.world.talk.voice import Voice, row
from llmga.toyworld.world.words import with_article

ADJECTIVES = ("size", "colour", "pattern")
MOVED = 0.25  # how often an adjective comes after the noun
USUAL = 0.6  # how often a value is said in its usual word
# An adjective after its noun.
BEHIND = {
    "colour": row(("in {x}", "that is {x}", "painted {x}", "coloured {x}", "which should be {x}", "of {x} colour"),
                  ("，要{x}的", "，颜色是{x}", "，涂成{x}", "，颜色要{x}")),
    "size": row(("that is {x}", "of {x} size", "which is rather {x}", "and make it {x}", "which should be {x}"),
                ("，要{x}的那种", "，大小是{x}", "，尺寸是{x}")),
    "pattern": row(("that is {x}", "with a {x} pattern", "which is {x} all over", "and let it be {x}"),
                   ("，要有{x}的", "，花纹是{x}", "，带上{x}花纹")),
}  # fmt: skip
SOMETHING = row(("thing", "shape", "object", "something"), ("东西", "图形", "物件"))


def word(value: str, voice: Voice) -> str:
    """A value in one of its words, most often the usual one."""
    ways = WORDS[voice.language][value]
    return ways[0] if voice.chance(USUAL) else voice.rng.choice(ways)


def place(value: str, voice: Voice) -> str:
    """Where something stands."""
    return voice.rng.choice(WHERE[voice.language][value])


def ground(value: str, voice: Voice) -> str:
    """What a background is."""
    return voice.rng.choice(GROUNDS[voice.language][value])


def relation(value: str, voice: Voice) -> str:
    """Where one thing is from another."""
    return voice.rng.choice(BESIDE[voice.language][value])


def plural(noun: str) -> str:
    """Several of what an English noun of one or more words names."""
    if noun.endswith("fish"):
        return noun
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", noun) + "s"


def wished(named: Mapping[str, str], voice: Voice, count: int = 1) -> str:
    """What is wished for, with an article or a number: `a big red star`, `两颗大的红色星星`."""
    said = {name: word(named[name], voice) for name in ADJECTIVES if named.get(name)}
    late = voice.rng.choice(sorted(said)) if said and voice.chance(MOVED) else ""
    behind = voice.pick(BEHIND[late], x=said.pop(late)) if late else ""
    kind = named.get("kind", "")
    noun = word(kind, voice) if kind else voice.pick(SOMETHING)
    if voice.is_english:
        return _english(list(said.values()), noun, behind, voice.rng.choice(COUNTS["en"].get(count, ("",))))
    return _chinese(said, noun, behind, f"{voice.rng.choice(COUNTS['zh'][count])}{MEASURES.get(kind, '个')}", voice)


def _english(adjectives: list[str], noun: str, behind: str, number: str) -> str:
    """A noun phrase; without a number it is one."""
    if noun == "something":
        return " ".join(filter(None, [noun, *adjectives, behind]))
    words = " ".join([*adjectives, plural(noun) if number else noun])
    words = f"{number} {words}" if number else with_article(words)
    return f"{words} {behind}".strip()


def _chinese(said: Mapping[str, str], noun: str, behind: str, number: str, voice: Voice) -> str:
    names = list(said)
    if voice.chance(0.3):
        voice.rng.shuffle(names)
    words = [said[name] if name == "pattern" or (name == "colour" and voice.chance(0.5)) else f"{said[name]}的"
             for name in names]  # fmt: skip
    return f"{number}{''.join(words)}{noun}{behind}"


IT = row(("it", "it", "that"), ("它", "这个", "那个"))


def refer(scene: Scene, index: int, voice: Voice, pronoun: bool = True) -> str:
    """One thing of a picture so that it cannot be taken for another.

    Args:
        pronoun: whether `it` may stand for the only one.
    """
    thing = scene.things[index]
    if pronoun and len(scene.things) == 1 and voice.chance(0.5):
        return voice.pick(IT)
    for names in _telling(scene, index):
        if voice.chance(0.7) or names == ("size", "colour", "pattern", "kind"):
            return _definite(thing, names, voice)
    return _by_place(thing, voice)


def _telling(scene: Scene, index: int) -> list[tuple[str, ...]]:
    """The attributes by which a thing can be told from the others, fewest first."""
    options = [("kind",), ("colour", "kind"), ("size", "kind"), ("size", "colour", "pattern", "kind")]
    others = [thing for number, thing in enumerate(scene.things) if number != index]
    mine = scene.things[index].attributes
    return [names for names in options
            if not any(all(other.attributes[name] == mine[name] for name in names) for other in others)]  # fmt: skip


def _definite(thing: Thing, names: tuple[str, ...], voice: Voice) -> str:
    said = [WORDS[voice.language][value][0]
            for name in names if (value := getattr(thing, name)) not in ("plain", thing.kind)]  # fmt: skip
    noun = word(thing.kind, voice)
    if voice.is_english:
        return " ".join(["the", *said, noun])
    return "".join([*(f"{each}的" for each in said), noun])


def _by_place(thing: Thing, voice: Voice) -> str:
    where = WHERE[voice.language][thing.place][0]
    noun = WORDS[voice.language][thing.kind][0]
    return f"the {noun} {where}" if voice.is_english else f"{where}的{noun}"


def described(thing: Thing, language: str, count: int = 1, article: bool = True) -> str:
    """A thing with all its attributes in the usual words, as an answer says it."""
    kind, colour, size, pattern = thing.look
    words = WORDS[language]
    said = [words[size][0], words[colour][0], *([] if pattern == "plain" else [words[pattern][0]])]
    if language == "en":
        noun = " ".join([*said, plural(words[kind][0]) if count > 1 else words[kind][0]])
        return f"{NUMBERS['en'][count]} {noun}" if count > 1 else with_article(noun) if article else noun
    number = f"{NUMBERS['zh'][count]}{MEASURES[kind]}" if article else ""
    return f"{number}{said[0]}的{''.join(said[1:])}{words[kind][0]}"
