"""What a prompt says, as far as rules can read it: things with numbers and attributes, and how they stand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from llmga.evaluation.prompt_rules.words import AXES, MANY, OPPOSITE


@dataclass(frozen=True)
class Token:
    """A word, or several that mean one thing; kinds are those of the language's table."""

    kind: str
    value: Any
    word: str


@dataclass(frozen=True)
class Mention:
    """One place where a thing is named.

    Attributes:
        thing: which one.
        start, end: tokens of its noun.
        sentence: number of its sentence.
        number: how many are said to be there; `MANY` for more than one; None where nothing is said.
        definite: it is spoken of as known, so that it adds nothing to what was counted.
        another: it is said to be a further one.
        negated: it is said not to be there.
        attributes: (family, value) of each that is bound to it.
    """

    thing: str
    start: int
    end: int
    sentence: int
    number: int | None = None
    definite: bool = False
    another: bool = False
    negated: bool = False
    attributes: frozenset[tuple[str, str]] = frozenset()


@dataclass
class Reading:
    """What a text says.

    Attributes:
        words: the tokens.
        mentions: in their order.
        relations: (thing, relation, other thing).
        places: (thing, where it is in the picture).
    """

    words: list[str] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    relations: set[tuple[str, str, str]] = field(default_factory=set)
    places: list[tuple[str, str]] = field(default_factory=list)

    def of(self, thing: str) -> list[Mention]:
        """Where a thing is said to be there."""
        return [mention for mention in self.mentions if mention.thing == thing and not mention.negated]

    def denied(self, thing: str) -> bool:
        """Whether a thing is said not to be there."""
        return any(mention.thing == thing and mention.negated for mention in self.mentions)

    def between(self, thing: str, other: str) -> set[str]:
        """How a thing stands to another, in whatever way it is said."""
        said = {relation for a, relation, b in self.relations if (a, b) == (thing, other)}
        said |= {OPPOSITE[relation] for a, relation, b in self.relations if (a, b) == (other, thing)}
        return said | set(self._by_places(thing, other))

    def _by_places(self, thing: str, other: str) -> Iterator[str]:
        """Two things on different sides of the picture."""
        for axis in AXES:
            here, there = (self._place(each, axis) for each in (thing, other))
            if here and there and here != there:
                yield here

    def _place(self, thing: str, axis: tuple[str, ...]) -> str | None:
        return next((place for each, place in self.places if each == thing and place in axis), None)

    def numbers(self, thing: str) -> set[int]:
        """Every number of a thing that the text states.

        Several of a thing in one sentence, "a red car and a blue car" or "a car and another one", are counted together
        where they differ in an attribute or one is said to be another.
        """
        found: set[int] = set()
        said = [mention for mention in self.of(thing) if mention.number is not None]
        for sentence in {mention.sentence for mention in said}:
            here = [mention for mention in said if mention.sentence == sentence]
            fresh = [mention for mention in here if not mention.definite]
            found |= {_sum(fresh)} if _differ(fresh) else {mention.number for mention in fresh if mention.number}
            found |= {mention.number for mention in here if mention.definite and mention.number is not None}
        return found


def _differ(mentions: list[Mention]) -> bool:
    """Whether each is of another one."""
    kinds = {mention.attributes for mention in mentions}
    return len(mentions) > 1 and (any(each.another for each in mentions) or (len(kinds) == len(mentions) and
                                                                            frozenset() not in kinds))  # fmt: skip


def _sum(mentions: list[Mention]) -> int:
    numbers = [mention.number or 0 for mention in mentions]
    return MANY if MANY in numbers else sum(numbers)


class Positions(Protocol):
    """Finds how things stand, once the text and what it mentions are known."""

    def read(self) -> None:
        """Add what is said to the reading."""


@dataclass(frozen=True)
class Grammar:
    """How a language is read.

    Attributes:
        tokens: the words of a text, with what they mean; the names of things come in addition.
        mentions: where things are named.
        positions: how they stand to each other.
    """

    tokens: Callable[[str, frozenset[str]], list[Token]]
    mentions: Callable[[list[Token]], Iterator[Mention]]
    positions: Callable[[list[Token], Reading, frozenset[str]], Positions]

    def read(self, text: str, things: frozenset[str]) -> Reading:
        """What a text says of everything, and how the things of a row stand to each other."""
        found = self.tokens(text, things)
        result = Reading(words=[token.word for token in found], mentions=list(self.mentions(found)))
        self.positions(found, result, things).read()
        return result


def joined(readings: list[Reading]) -> Reading:
    """Several readings of one text, each of another language, as one."""
    whole = Reading()
    for reading in readings:
        tokens, sentences = len(whole.words), 1 + max((each.sentence for each in whole.mentions), default=0)
        whole.words += reading.words
        whole.mentions += [
            replace(each, start=each.start + tokens, end=each.end + tokens, sentence=each.sentence + sentences)
            for each in reading.mentions
        ]
        whole.relations |= reading.relations
        whole.places += reading.places
    return whole
