"""An English text read by rule: what stands before a noun belongs to it, up to the next boundary."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from llmga.evaluation.prompt_rules import words as lexicon
from llmga.evaluation.prompt_rules.reading import Mention, Reading
from llmga.evaluation.prompt_rules.words import MANY, Noun

_PIECE = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+(?:\.\d+)?[a-z]*|[.;!?,:()\n\u2013\u2014]")
_HYPHENED_NUMBER = re.compile(rf"\b(?:{'|'.join(lexicon.NUMBERS)}|\d+)-(?=[a-z])")
_VERBISH = re.compile(r"(?<![su])s$")
_ADJECTIVES = {"gorgeous", "famous", "various", "serious", "previous", "luxurious", "less", "glass", "grass", "plus"}
_CLOSED = {
    "a": "a", "an": "a", "one": "number", "the": "the", "this": "the", "these": "the", "that": "that", "which": "that",
    "those": "the", "its": "the", "their": "the", "his": "the", "her": "the", "each": "the", "every": "the",
    "another": "another", "second": "another", "and": "and", "or": "and", "&": "and", ",": "comma", "is": "be",
    "are": "be", "was": "be", "were": "be", "being": "be", "be": "be", "appears": "be", "looks": "be",
    ".": "stop", ";": "stop", "!": "stop", "?": "stop", "\n": "stop", ":": "comma", "(": "comma", ")": "comma",
    "\u2013": "comma", "\u2014": "comma", "of": "of", "other": "another",
}  # fmt: skip
_BOUNDARIES = re.findall(
    r"\w+",
    "in at by with from to for as into through across around against between among toward towards along "
    "off out up down wearing holding carrying riding chasing playing while where who whose stands sits "
    "sit stand lie run eat have has hold wear ride chase play there here it they ",
)
_COMPOUND = re.compile(r"\b([a-z]+)-(?!colou?red|toned|hued|painted)[a-z]*(?:ed|ing|free|like|style)\b")  # wall-mounted
_NO_HEADS = {  # what follows a noun without being what it describes: verbs, and words for pictures
    *lexicon.WHOLE, "portrait", "poster", "painting", "style", "stands", "parks", "stops", "lights", "covers", "seats",
    "frames", "tracks", "shadows", "shelters", "stores", "shops", "faces", "heads", "eyes", "houses", "boxes", "peels",
    "views", "shades", "glows", "bears", "trains", "books", "parrots", "ducks", "hands", "rims", "labels",
}  # fmt: skip
_COLOURED = {"painted", "coloured", "colored", "dyed", "tinted", "in"}
_MADE = {"of", "from"}
_FARTHEST = 4  # unknown words between a noun and what belongs to it
_TOTAL = {("in", "total"), ("of", "them"), ("in", "all"), ("all", "told"), ("altogether",)}


@dataclass(frozen=True)
class Token:
    """A word, or several that mean one thing; kinds are those of `_table`."""

    kind: str
    value: Any
    word: str


@lru_cache(maxsize=256)
def _table(more: frozenset[str]) -> dict[tuple[str, ...], tuple[str, Any]]:
    """What words mean: the kind and its value."""
    table: dict[str, tuple[str, Any]] = {word: ("prep", None) for word in _BOUNDARIES}
    table |= {word: (kind, 1 if word == "one" else None) for word, kind in _CLOSED.items()}
    table |= {word: ("number", number) for word, number in lexicon.NUMBERS.items()}
    table |= {word: ("attr", value) for word, value in lexicon.attributes().items()}
    for kind, rows in (("rel", lexicon.RELATIONS), ("place", lexicon.PLACES), ("its", lexicon.TO_ITS)):
        table |= {word: (kind, name) for name, said in rows.items() for word in said}
    table |= {word: ("neg", None) for word in lexicon.NEGATIONS}
    table |= {group: ("group", number) for group, number in lexicon.GROUPS.items()}
    table |= {group + "s": ("group", number) for group, number in lexicon.GROUPS.items()}
    nouns = {word: ("noun", noun) for word, noun in lexicon.nouns(more).items() if word not in lexicon.attributes()}
    return {tuple(word.split(" ")): meaning for word, meaning in (table | nouns).items()}


def tokens(text: str, more: frozenset[str] = frozenset()) -> list[Token]:
    """The words of a text with what they mean, the longest first."""
    plain = _COMPOUND.sub("x", _HYPHENED_NUMBER.sub("x ", _tens(text.lower().replace("\u2019", "'"))))
    words = _PIECE.findall(re.sub(r"(?<=[a-z])-(?=[a-z])", " ", plain))
    table, found, at = _table(more), list[Token](), 0
    while at < len(words):
        size = next((n for n in range(6, 0, -1) if tuple(words[at : at + n]) in table and at + n <= len(words)), 0)
        kind, value = table[tuple(words[at : at + size])] if size else _unknown(words[at])
        found.append(Token(kind, value, " ".join(words[at : at + max(1, size)])))
        at += max(1, size)
    return _fruit(found)


def _tens(text: str) -> str:
    """ "twenty-one" in digits."""
    tens = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
            "ninety": 90}  # fmt: skip
    ones = {word: number for word, number in lexicon.NUMBERS.items() if 0 < number < 10}
    return re.sub(rf"\b({'|'.join(tens)})(?:-({'|'.join(ones)}))?\b",
                  lambda m: str(tens[m[1]] + ones.get(m[2] or "", 0)), text)  # fmt: skip


def _unknown(word: str) -> tuple[str, Any]:
    if word.isdecimal() and len(word) < 6:
        return "number", int(word)
    return "word", None


def _fruit(found: list[Token]) -> list[Token]:
    """An orange is a fruit where no noun follows that it could colour."""
    for index, token in enumerate(found):
        if token.word == "orange" and not _colours(found, index):
            found[index] = replace(token, kind="noun", value=Noun("orange", False))
        elif token.word == "oranges":
            found[index] = replace(token, kind="noun", value=Noun("orange", True))
    return found


def _colours(found: list[Token], index: int) -> bool:
    after = next((token for token in found[index + 1 :] if token.kind not in ("attr", "and")), None)
    before = found[index - 1] if index else Token("stop", None, "")
    if before.word == "orange":
        return False
    if before.kind == "be" or before.word in _COLOURED - {"in"}:
        return True
    if index + 1 < len(found) and found[index + 1].word in ("orange", "oranges"):
        return True
    return after is not None and after.kind in ("noun", "word") and not _VERBISH.search(after.word)


def read(text: str, things: frozenset[str]) -> Reading:
    """What a text says of everything, and how the things of a row stand to each other."""
    found = tokens(text, things)
    result = Reading(words=[token.word for token in found], mentions=list(_mentions(found)))
    _Positions(found, result, things).read()
    return result


# Things.


def _mentions(found: list[Token]) -> Iterator[Mention]:
    sentence, before = 0, None
    for index, token in enumerate(found):
        sentence += token.kind == "stop"
        if token.kind == "noun" and not _is_modifier(found, index):
            mention = _mention(found, index, sentence)
            if before is not None and before.negated and _listed(found, before.end, index):
                mention = replace(mention, negated=True)
            yield mention
            before = mention


def _is_modifier(found: list[Token], index: int) -> bool:
    """Of a "dog house", the dog is none."""
    following = found[index + 1] if index + 1 < len(found) else None
    if following is None or following.kind != "noun" or following.word in _NO_HEADS:
        return False
    return found[index].value.plural is not True


def _listed(found: list[Token], start: int, end: int) -> bool:
    """Whether one noun follows the other in a list, as in "no cat or dog"."""
    between = found[start:end]
    return any(token.kind == "and" for token in between) and all(
        token.kind in ("and", "comma", "a", "word", "attr") for token in between
    )


def _mention(found: list[Token], index: int, sentence: int) -> Mention:
    noun: Noun = found[index].value
    phrase = _Phrase(found, index)
    number = phrase.number
    if number is None:
        number = MANY if noun.plural else None
    attributes = frozenset(phrase.attributes) | frozenset(_said_after(found, index + 1))
    number = _total(found, index + 1) or number
    return Mention(noun.thing, index, index + 1, sentence, number, phrase.definite, phrase.another, phrase.negated,
                   attributes)  # fmt: skip


class _Phrase:
    """What stands before a noun and belongs to it."""

    def __init__(self, found: list[Token], index: int):
        self.found, self.noun = found, found[index].value
        self.number: int | None = None
        self.definite = self.another = self.negated = False
        self.attributes: list[tuple[str, str]] = []
        self._read(index - 1)

    def _read(self, at: int) -> None:
        unknown = 0
        while at >= 0 and unknown <= _FARTHEST:
            token = self.found[at]
            if token.kind == "attr":
                self.attributes.append(token.value)
            elif token.kind in ("and", "comma"):
                if not self._joins(at):
                    return
            elif token.kind == "noun" and at == self._modifier_before(at):
                pass
            elif token.kind == "word" and not _is_verb(token.word):
                unknown += 1
            else:
                self._begin(at)
                return
            at -= 1

    def _modifier_before(self, at: int) -> int:
        return at if _is_modifier(self.found, at) else -1

    def _joins(self, at: int) -> bool:
        """Whether a comma or "and" stands between two adjectives."""
        before = self.found[at - 1] if at else None
        after = self.found[at + 1]
        if before is None or after.kind not in ("attr", "word"):
            return False
        return before.kind == "attr" and (after.kind == "attr" or self.found[at].kind == "comma")

    def _begin(self, at: int) -> None:
        """The first word of the phrase, which may say how many."""
        token, before = self.found[at], self.found[at - 1] if at else Token("stop", None, "")
        if token.kind == "of" and before.kind == "group":
            self._group(at - 1)
        elif token.kind in ("a", "number"):
            self.number = self._several(token.value if token.kind == "number" else 1)
            self.definite = before.kind == "the" or before.word == "all"
            self.another = before.kind == "another"
            self._negation(at - 1)
        elif token.kind == "the":
            self.definite = True
            self._negation(at - 1)
        elif token.kind == "another":
            self.another = before.kind != "the" and not self.noun.plural
            self.definite = before.kind == "the"
            self.number = 1 if self.another else None
        elif token.kind == "neg":
            self.negated = True
        elif token.kind == "group" and token.value != MANY:  # "a dozen eggs"
            self.number = token.value

    def _group(self, at: int) -> None:
        """ "a pair of", "two pairs of", "a group of"."""
        number = self.found[at].value
        times = next((token.value for token in self.found[max(0, at - 2) : at] if token.kind == "number"), 1)
        paired = number == 2 and self.noun.thing in lexicon.PAIRED
        self.number = times if paired else MANY if MANY in (number, times) else number * times
        self.definite = at > 0 and self.found[at - 1].kind == "the"

    def _several(self, number: int) -> int:
        """ "a group of four cats" is four."""
        return MANY if number == MANY else number

    def _negation(self, at: int) -> None:
        """ "without a dog", "not the dog"."""
        self.negated = at >= 0 and self.found[at].kind == "neg"


def _is_verb(word: str) -> bool:
    return bool(_VERBISH.search(word)) and word not in _ADJECTIVES and not word.endswith("less")


def _said_after(found: list[Token], at: int) -> Iterator[tuple[str, str]]:
    """Attributes that follow a noun: "is red", "painted red", "made of wood", "with stripes"."""
    at += at < len(found) and found[at].kind in ("comma", "that") and _follows(found, at + 1)
    if at >= len(found) or not _follows(found, at):
        return
    only_patterns = found[at].word == "with"
    made = found[at].word == "made" or (found[at].kind == "be" and at + 1 < len(found) and found[at + 1].word == "made")
    at += found[at].kind != "attr"
    while at < len(found) and (found[at].kind in ("word", "attr", "and") or (made and found[at].word in _MADE)
                               or found[at].word in ("out", "painted", "with")):  # fmt: skip
        if found[at].kind == "attr" and not only_patterns and (made or not _before_noun(found, at)):
            yield found[at].value
        elif found[at].word == "and" and (at + 1 >= len(found) or found[at + 1].kind != "attr"):
            return
        at += 1
    if at < len(found) and found[at].word in lexicon.PATTERNED_WITH:
        yield "pattern", lexicon.PATTERNED_WITH[found[at].word]


def _follows(found: list[Token], at: int) -> bool:
    """Whether a word begins what is said of the noun before."""
    return at < len(found) and (found[at].kind == "be" or found[at].word in (*_COLOURED, "made", "with", "carved")
                                or found[at].kind == "attr")  # fmt: skip


def _before_noun(found: list[Token], at: int) -> bool:
    """Whether an attribute belongs to a noun that comes yet: "in red light"."""
    for token in found[at + 1 : at + 4]:
        if token.kind == "noun":
            return True
        if token.kind not in ("word", "attr", "and") or (token.kind == "word" and _is_verb(token.word)):
            return False
    return False


def _total(found: list[Token], at: int) -> int | None:
    """ "cats, four in total"."""
    at += at < len(found) and found[at].kind == "comma"
    if at >= len(found) or found[at].kind != "number":
        return None
    ahead = [word for token in found[at + 1 : at + 3] for word in token.word.split(" ")]
    return found[at].value if tuple(ahead[:2]) in _TOTAL or tuple(ahead[:1]) in _TOTAL else None


# How things stand.


class _Positions:
    """Relations between the things of a row, other things between them passed over."""

    def __init__(self, found: list[Token], result: Reading, things: frozenset[str]):
        self.found, self.result = found, result
        self.own = [each for each in result.mentions if each.thing in things and not each.negated]
        self.all = result.mentions

    def read(self) -> None:
        """Add what is said to the reading."""
        for at, token in enumerate(self.found):
            if token.kind == "rel":
                self._relation(at, token.value)
            elif token.kind == "its":
                self._its(at, token.value)
            elif token.kind == "place":
                self._place(at, token.value)

    def _sentence(self, at: int) -> int:
        return sum(token.kind == "stop" for token in self.found[:at])

    def _near(self, at: int, *, after: bool) -> list[Mention]:
        """The row's things of the sentence on one side, nearest first."""
        here = [each for each in self.own if each.sentence == self._sentence(at) and (each.start > at) == after]
        return here if after else here[::-1]

    def _relation(self, at: int, relation: str) -> None:
        target = next((each for each in self.all if each.start > at), None)
        if target is None or target.sentence != self._sentence(at):
            return
        if self.found[target.start].word in lexicon.WHOLE:
            self._place(at, relation)
        if target not in self.own:
            return
        before = [each for each in self._near(at, after=False) if each.thing != target.thing]
        after = [each for each in self._near(at, after=True) if each.thing != target.thing]
        first = self._begins_clause(at) and bool(after) and self._turned(target)
        subjects = after[:1] if first or not before else self._with_listed(before)
        self.result.relations |= {(each.thing, relation, target.thing) for each in subjects}

    def _turned(self, target: Mention) -> bool:
        """Whether what stands somewhere is named after the place: "to the left of it is a cat"."""
        following = self.found[target.end] if target.end < len(self.found) else None
        return following is not None and (following.kind in ("be", "comma") or _is_verb(following.word))

    def _begins_clause(self, at: int) -> bool:
        while at > 0 and self.found[at - 1].kind == "word":  # "immediately to its right"
            at -= 1
        return at == 0 or self.found[at - 1].kind in ("stop", "comma", "and")

    def _with_listed(self, before: list[Mention]) -> list[Mention]:
        """The nearest thing, and what it is listed with: "a cat and a dog left of it"."""
        nearest, *others = before
        if (
            others
            and any(token.kind == "and" for token in self.found[others[0].end : nearest.start])
            and all(
                token.kind in ("and", "a", "the", "number", "attr")
                for token in self.found[others[0].end : nearest.start]
            )
        ):
            return [nearest, others[0]]
        return [nearest]

    def _its(self, at: int, relation: str) -> None:
        """ "a cat with a couch to its right"."""
        earlier = [each for each in self.own if each.end <= at][::-1]
        first = self._begins_clause(at)
        subjects = self._near(at, after=True)[:1] if first else earlier[:1]
        known = [each for each in earlier if subjects and each.thing != subjects[0].thing]
        if subjects and known:
            self.result.relations.add((subjects[0].thing, relation, known[0].thing))

    def _place(self, at: int, place: str) -> None:
        start = next((n for n in range(at - 1, -1, -1) if self.found[n].kind in ("stop", "comma", "and")), -1)
        before = [each for each in self._near(at, after=False) if each.start > start]
        subjects = before[:1] or self._near(at, after=True)[:1]
        self.result.places += [(each.thing, place) for each in subjects]
