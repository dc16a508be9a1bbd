"""The words of an English text, with what they mean."""

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from llmga.evaluation.prompt_rules import words as lexicon
from llmga.evaluation.prompt_rules.reading import Token
from llmga.evaluation.prompt_rules.words import Noun

_PIECE = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+(?:\.\d+)?[a-z]*|[.;!?,:()\n\u2013\u2014]")
_HYPHENED_NUMBER = re.compile(rf"\b(?:{'|'.join(lexicon.NUMBERS)}|\d+)-(?=[a-z])")
_COMPOUND = re.compile(r"\b([a-z]+)-(?!colou?red|toned|hued|painted)[a-z]*(?:ed|ing|free|like|style)\b")  # wall-mounted
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
_ADJECTIVES = {"gorgeous", "famous", "various", "serious", "previous", "luxurious", "less", "glass", "grass", "plus"}
_VERBISH = re.compile(r"(?<![su])s$")
COLOURED = {"painted", "coloured", "colored", "dyed", "tinted", "in"}


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
    if before.kind == "be" or before.word in COLOURED - {"in"}:
        return True
    if index + 1 < len(found) and found[index + 1].word in ("orange", "oranges"):
        return True
    return after is not None and after.kind in ("noun", "word") and not _VERBISH.search(after.word)


def is_verb(word: str) -> bool:
    """Whether an unknown word looks like a verb: it ends in s as one of the third person does."""
    return bool(_VERBISH.search(word)) and word not in _ADJECTIVES and not word.endswith("less")
