"""Test points in words, as UniGenBench++ describes them: kept where a prompt has most of their words and all numbers,
colours and negations.
"""

import re
from collections.abc import Iterable

from llmga.evaluation.prompt_rules import chinese, english, words
from llmga.evaluation.prompt_rules.reading import Reading
from llmga.evaluation.prompt_rules.words import MANY

SHARE = 2 / 3  # of the words of a test point that have to be found
_STOPWORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to with and or by from for as into is are was were be being been it its he his "
        "she her they their them this that these those there which who whose while one ones other another "
        "very some any has have had where when both each same all not no without never image picture photo "
        "scene style so too just out up ",
    )
)
_NEGATED = {
    "en": re.compile(r"\b(?:no|not|without|never|none|neither|nor|free of|instead of|lacks?|lacking)\b|n't\b"),
    "zh": re.compile(r"没有?|无(?!数|边|垠|际)|不(?!远|同|久|断|仅|少)|并非|未(?!来)|禁止"),
}
_CLAUSE = re.compile(r"[,.;:!?，。；：！？\n]|\bbut\b|但|而")
_EMPTY = re.compile(
    r"[的了着在是一个只正并地得被把和与及也都将从其它他她们之这那有为呈上里中，。、；：！？（）()“”\"'《》…·\s]+"
)
_QUANTITY = {"Attribute - Quantity", "属性-数量"}
_COLOUR = {"Attribute - Color", "Attribute - Colour", "属性-颜色"}
_NUMBER_ZH = re.compile(rf"(\d+|十[一二]|[一二两三四五六七八九十])[{words.CLASSIFIERS}]([^，。；、！？]+)")
_CUT_ZH = re.compile(r"[在正从被把，。；]")


def judge_point(label: str, described: str, prompt: str) -> tuple[bool | None, str]:
    """Whether a prompt in the language of a test point keeps it, and why not; None where rules cannot see it."""
    language = "zh" if re.search(r"[\u4e00-\u9fff]", described) else "en"
    wanted = content(described, language)
    if not wanted:
        return None, f"{described!r} holds no word that a rule could look for"
    denied = _NEGATED[language].search(described)
    if denied:
        return _negation(described[denied.end() :], described, prompt, language)
    for check in (_numbers, _colours):
        if reason := check(label, described, prompt, language):
            return False, reason
    return _covered(wanted, prompt, language, described)


def content(text: str, language: str) -> list[str]:
    """What carries meaning: English words by their stem and Chinese pairs of characters."""
    if language == "zh":
        runs = [run for run in _EMPTY.split(text) if run]
        return [run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1))]
    found = re.findall(r"[a-z0-9]+", text.lower().replace("'s", ""))
    return [_stem(word) for word in found if word not in _STOPWORDS]


def _stem(word: str) -> str:
    """One word for all forms and synonyms that are known."""
    word = words.english().get(word) or words.attributes().get(word, ("", ""))[1] or words.english().get(
        words.singular(word), word)  # fmt: skip
    return re.sub(r"(?:ing|ied|ies|ed|es|s|e|y|ly)$", "", word) if len(word) > 4 else word


def _covered(wanted: list[str], prompt: str, language: str, described: str) -> tuple[bool, str]:
    there = _found(wanted, prompt, language)
    if len(there) >= SHARE * len(wanted):
        return True, ""
    return False, f"{described!r}: of its words only {len(there)} of {len(wanted)} are there"


def _found(wanted: Iterable[str], prompt: str, language: str) -> list[str]:
    have = prompt if language == "zh" else {*content(prompt, "en")}
    return [each for each in wanted if each in have]


def _negation(after: str, described: str, prompt: str, language: str) -> tuple[bool, str]:
    """What is not to be there is denied, or left out; in the clause in which it is named it is denied."""
    wanted = content(after, language) or content(described, language)
    for clause in _CLAUSE.split(prompt.lower()):
        there = _found(wanted, clause, language)
        if len(there) >= SHARE * len(wanted) and not _NEGATED[language].search(clause):
            return False, f"{described!r}: the prompt names it and does not deny it"
    return True, ""


def _numbers(label: str, described: str, prompt: str, language: str) -> str:
    """Of a quantity: the same number of the same noun."""
    if label not in _QUANTITY:
        return ""
    return _number_zh(described, prompt) if language == "zh" else _number_en(described, prompt)


def _number_en(described: str, prompt: str) -> str:
    read = english.read(described, frozenset())
    stated = {each.thing: each.number for each in read.mentions if each.number not in (None, MANY)}
    wanted = stated or _head(described)
    for thing, number in wanted.items():
        said = english.read(prompt, frozenset({thing})).numbers(thing) - {MANY}
        if number not in said:
            return f"{described!r}: {number} {thing} wanted, said: {', '.join(map(str, sorted(said))) or 'no number'}"
    return ""


def _head(described: str) -> dict[str, int | None]:
    """The number and the noun of a phrase whose noun is in no table: its last word before the next boundary."""
    found = english.tokens(described)
    at = next((n for n, token in enumerate(found) if token.kind == "number" and token.value != MANY), None)
    if at is None:
        return {}
    end = next((n for n in range(at + 1, len(found)) if found[n].kind not in ("word", "attr")
                or found[n].word in ("made", "composed")), len(found))  # fmt: skip
    return {words.singular(found[end - 1].word): found[at].value} if end > at + 1 else {}


def _number_zh(described: str, prompt: str) -> str:
    for number, phrase in _NUMBER_ZH.findall(described):
        noun = _CUT_ZH.split(phrase)[0].split("的")[-1][-2:]
        pattern = (
            rf"(\d+|十[一二]|[一二两三四五六七八九十])[{words.CLASSIFIERS}][^，。；、！？]{{0,30}}?{re.escape(noun)}"
        )
        said = {_value(each) for each in re.findall(pattern, prompt)}
        if noun and _value(number) not in said:
            return f"{described!r}: {number} {noun} wanted, said: {', '.join(map(str, sorted(said))) or 'no number'}"
    return ""


def _value(number: str) -> int:
    return int(number) if number.isdecimal() else words.CHINESE_NUMBERS[number]


def _colours(label: str, described: str, prompt: str, language: str) -> str:
    """Colours bound to a known noun are bound to it in the prompt, too; others are there."""
    read = english.read if language == "en" else chinese.read
    wanted, said = read(described, frozenset()), read(prompt, frozenset())
    for mention in wanted.mentions:
        missing = {value for family, value in mention.attributes if family == "colour"} - _colours_of(
            said, mention.thing
        )
        if missing and said.of(mention.thing):
            return f"{described!r}: {', '.join(sorted(missing))} {mention.thing} is not said"
    if label in _COLOUR:
        missing = _any_colours(described, language) - _any_colours(prompt, language)
        if missing:
            return f"{described!r}: {', '.join(sorted(missing))} is not said"
    return ""


def _colours_of(reading: Reading, thing: str) -> set[str]:
    return {value for each in reading.of(thing) for family, value in each.attributes if family == "colour"}


def _any_colours(text: str, language: str) -> set[str]:
    tokens = english.tokens(text) if language == "en" else chinese.tokens(text)
    return {token.value[1] for token in tokens if token.kind == "attr" and token.value[0] == "colour"}
