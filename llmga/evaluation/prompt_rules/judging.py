"""Whether a prompt keeps what a row demands; what it says otherwise counts as lost, with the reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from llmga.evaluation.prompt_rules import chinese, english, words
from llmga.evaluation.prompt_rules.points import judge_point
from llmga.evaluation.prompt_rules.reading import Mention, Reading, joined
from llmga.evaluation.prompt_rules.rows import CHINESE, TEST_POINT, Demand, Row, language_of
from llmga.evaluation.prompt_rules.words import MANY

_LATIN = re.compile(r"[a-z]{2}", re.IGNORECASE)
_ENDING = re.compile(r"(?:ing|ed|es|s|e)$")
_NEAR = 6  # tokens between an attribute of no known family and its noun


@dataclass(frozen=True)
class Verdict:
    """Whether a demand is kept; None where the rules cannot see it, and why."""

    kept: bool | None
    reason: str = ""


KEPT = Verdict(True)


def read(prompt: str, things: frozenset[str]) -> Reading:
    """What a prompt says, in whatever language."""
    readings = [english.read(prompt, things)] if _LATIN.search(prompt) else []
    if CHINESE.search(prompt):
        readings.append(chinese.read(prompt, things))
    return joined(readings)


def judge(row: Row, prompt: str | None) -> list[Verdict]:
    """A verdict for every demand of a row; without a prompt all is lost."""
    if prompt is None or not prompt.strip():
        return [Verdict(False, "no prompt was written")] * len(row.demands)
    reading = read(prompt, row.things)
    return [_judged(demand, reading, row, prompt) for demand in row.demands]


def _judged(demand: Demand, reading: Reading, row: Row, prompt: str) -> Verdict:
    if demand.kind == TEST_POINT:
        if language_of(prompt) != row.language:
            return Verdict(None, f"the prompt is not in the language of the row ({row.language})")
        kept, reason = judge_point(demand.label, demand.value, prompt)
        return Verdict(kept, reason)
    for thing in filter(None, (demand.thing, demand.other)):
        if language_of(prompt) == "zh" and not reading.of(thing) and not words.things().get(thing, ((), ()))[1]:
            return Verdict(None, f"no Chinese word for {thing!r} is known")
        if demand.kind != "exclusion" and not reading.of(thing):
            return Verdict(False, f"{thing} is {'denied' if reading.denied(thing) else 'not named'}")
    return RULES[demand.kind](demand, reading, row)


def _object(demand: Demand, reading: Reading, row: Row) -> Verdict:
    return KEPT  # that it is named was seen before


def _count(demand: Demand, reading: Reading, row: Row) -> Verdict:
    """Another number is a contradiction; one of several may be spoken of."""
    wanted, said = demand.number, reading.numbers(demand.thing)
    allowed = {each.number for each in row.demands if each.kind == "count" and each.thing == demand.thing} | {MANY, 1}
    others = said - allowed
    if others:
        return Verdict(False, f"{wanted} {demand.thing} wanted, said: {_shown(said)}")
    if wanted == 1:
        single = any(mention.number in (1, None) for mention in reading.of(demand.thing))
        return (
            KEPT if single and len(said - {1, MANY}) == 0 else Verdict(False, f"more than one {demand.thing} is said")
        )
    if wanted in said:
        return KEPT
    return Verdict(False, f"{wanted} {demand.thing} wanted, said: {_shown(said) or 'no number'}")


def _shown(numbers: set[int]) -> str:
    return ", ".join("several" if number == MANY else str(number) for number in sorted(numbers))


def _attribute(demand: Demand, reading: Reading, row: Row) -> Verdict:
    family, value = words.family_of(demand.value)
    if family not in words.ATTRIBUTES:
        return _near(demand, reading)
    said = {each for mention in reading.of(demand.thing) for of, each in mention.attributes if of == family}
    wanted = {words.family_of(each.value) for each in row.demands if each.thing == demand.thing and each.value}
    others = {each for each in said if (family, each) not in wanted}
    if value not in said:
        return Verdict(False, f"{value} {demand.thing} wanted, said: {', '.join(sorted(said)) or f'no {family}'}")
    if others:
        return Verdict(False, f"{value} {demand.thing} wanted, also said: {', '.join(sorted(others))}")
    return KEPT


def _near(demand: Demand, reading: Reading) -> Verdict:
    """An attribute that no table has is looked for as a word beside its noun."""
    for mention in reading.of(demand.thing):
        if demand.value in reading.words[max(0, mention.start - _NEAR) : mention.end + _NEAR]:
            return KEPT
    return Verdict(False, f"{demand.value} is not said beside {demand.thing}")


def _position(demand: Demand, reading: Reading, row: Row) -> Verdict:
    said = reading.between(demand.thing, demand.other)
    fulfilling = {*words.FULFILLED_BY.get(demand.value, (demand.value,))}
    axis = next((each for each in words.AXES if demand.value in each), (demand.value,))
    wrong = {each for each in said if each in axis and each in _opposites(demand.value)}
    if wrong or not said & fulfilling:
        told = ", ".join(sorted(said)) or "nothing of it"
        return Verdict(False, f"{demand.thing} {demand.value} {demand.other} wanted, said: {told}")
    return KEPT


def _opposites(relation: str) -> set[str]:
    opposite = words.OPPOSITE[relation]
    if opposite == relation:
        return set()
    return {opposite, *{"above": ("under",), "on": ("below",), "below": ("on",), "under": ("above",)}.get(relation, ())}


def _verb(demand: Demand, reading: Reading, row: Row) -> Verdict:
    """Who does it to whom: the nearest thing of the row before it, and the next one; "by" turns them."""
    stem = _stem(demand.value.split(" ")[0])
    things = [mention for mention in reading.mentions if mention.thing in row.things and not mention.negated]
    for at, word in enumerate(reading.words):
        if _stem(word) == stem and _acts(things, at, "by" in reading.words[at + 1 : at + 2]) == (
            demand.thing, demand.other,
        ):  # fmt: skip
            return KEPT
    if any(CHINESE.search(word) for word in reading.words):
        return Verdict(None, "verbs are not read in Chinese")
    return Verdict(False, f"{demand.thing} {demand.value} {demand.other} wanted, not said")


def _acts(things: list[Mention], at: int, passive: bool) -> tuple[str, str]:
    before = next((mention.thing for mention in reversed(things) if mention.end <= at), "")
    after = next((mention.thing for mention in things if mention.start > at), "")
    return (after, before) if passive else (before, after)


def _stem(word: str) -> str:
    return _ENDING.sub("", word)


def _exclusion(demand: Demand, reading: Reading, row: Row) -> Verdict:
    """So many or more are not to be there: what is left out or denied is kept."""
    if demand.number == 1:
        return Verdict(False, f"{demand.thing} is named") if reading.of(demand.thing) else KEPT
    said = {number for number in reading.numbers(demand.thing) if number >= demand.number}
    return Verdict(False, f"fewer than {demand.number} {demand.thing} wanted, said: {_shown(said)}") if said else KEPT


RULES: dict[str, Callable[[Demand, Reading, Row], Verdict]] = {
    "object": _object,
    "count": _count,
    "colour": _attribute,
    "attribute": _attribute,
    "position": _position,
    "verb": _verb,
    "exclusion": _exclusion,
}
