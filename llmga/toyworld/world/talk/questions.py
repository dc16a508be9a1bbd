"""Questions about a picture, yes and no in equal parts, with answers that follow from its scene."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import centres
from llmga.toyworld.world.relations import RELATIONS, SIDES, holds, relations
from llmga.toyworld.world.scene import ATTRIBUTES, Scene
from llmga.toyworld.world.talk import lexicon, nouns
from llmga.toyworld.world.talk.answers import description
from llmga.toyworld.world.talk.question_phrases import DESCRIBE, GUESSED, NO, OPEN, OWN, YES
from llmga.toyworld.world.talk.sentences import articles
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Row, Voice

Words = dict[str, str]


@dataclass(frozen=True)
class Question:
    """A question about a picture.

    Attributes:
        kind: what it asks for; of yes/no questions `is …`.
        truth: `yes`, `no`, or the value in the language's usual word, which a right answer has to hold.
        others: words that a right answer must not hold.
    """

    text: str
    answer: str
    kind: str
    truth: str
    others: tuple[str, ...] = ()


def _usual(name: str, value: str, language: str) -> str:
    """A value in the words of an answer."""
    if name == "place":
        return lexicon.WHERE[language][value][0]
    if name == "ground":
        return lexicon.GROUNDS[language][value][0]
    if name == "relation":
        return lexicon.BESIDE[language][value][0]
    return lexicon.WORDS[language][value][0]


def _the(scene: Scene, index: int, language: str) -> str:
    """A thing as an answer speaks of it: by its kind, which a question has made clear."""
    noun = lexicon.WORDS[language][scene.things[index].kind][0]
    return f"the {noun}" if language == "en" else noun


def _numbered(count: int, kind: str, language: str) -> str:
    """`two stars`, `两颗星星`, `no stars`."""
    noun, number = lexicon.WORDS[language][kind][0], lexicon.NUMBERS[language][count]
    if language == "en":
        return f"{number} {noun if count == 1 else nouns.plural(noun)}"
    return f"{number}{lexicon.MEASURES[kind] if count else ''}{noun}"


def _finish(text: str, answer: str, voice: Voice, kind: str, truth: str, others: tuple[str, ...] = ()) -> Question:
    answer = articles(answer[:1].upper() + answer[1:]) if voice.is_english else answer
    return Question(typed(articles(text) if voice.is_english else text, voice), answer, kind, truth, others)


def _pick_alone(scene: Scene, voice: Voice) -> int | None:
    """A thing of whose kind there is only one, so that its answer can call it by that."""
    counts = scene.counts()
    alone = [number for number, thing in enumerate(scene.things) if counts[thing.kind] == 1]
    return voice.rng.choice(alone) if alone else None


def open_question(scene: Scene, voice: Voice, kind: str) -> Question | None:
    """A question of a row of `OPEN`; None when this picture does not allow one."""
    asked, answers = OPEN[kind]
    found = _OPEN[kind](scene, voice)
    if found is None:
        return None
    slots, reply, truth, others = found
    text = voice.pick(asked, **slots)
    return _finish(text, answers[voice.language].format(**slots | reply), voice, kind, truth, others)


Found = tuple[Words, Words, str, tuple[str, ...]]


def _attribute(name: str) -> Callable[[Scene, Voice], Found | None]:
    def ask(scene: Scene, voice: Voice) -> Found | None:
        index = _pick_alone(scene, voice)
        if index is None:
            return None
        value, language = getattr(scene.things[index], name), voice.language
        truth = _usual(name, value, language)
        that = _the(scene, index, language)
        others = tuple(_usual(name, each, language) for each in ATTRIBUTES[name] if each != value)
        words = {"x": truth, "that": that, "That": that[:1].upper() + that[1:]}
        return {"it": nouns.refer(scene, index, voice)}, words, truth, _apart(others, truth)

    return ask


def _apart(others: tuple[str, ...], truth: str) -> tuple[str, ...]:
    """Words that are no part of the right one (`左` of `左上角`)."""
    return tuple(other for other in others if other not in truth)


def _of_frame(name: str, values: Mapping[str, object] | tuple[str, ...]) -> Callable[[Scene, Voice], Found | None]:
    def ask(scene: Scene, voice: Voice) -> Found | None:
        value = getattr(scene, name)
        truth = _usual(name, value, voice.language)
        others = tuple(_usual(name, each, voice.language) for each in values if each != value)
        return {}, {"x": truth}, truth, _apart(others, truth)

    return ask


def _count(scene: Scene, voice: Voice) -> Found | None:
    kind = voice.rng.choice(list(scene.counts()) if scene.things and voice.chance(0.8) else list(KINDS))
    count, language = scene.counts().get(kind, 0), voice.language
    noun = nouns.word(kind, voice)
    slots = {"xs": nouns.plural(noun) if voice.is_english else noun, "m": lexicon.MEASURES[kind]}
    said = _numbered(count, kind, language)
    said = f"有{said}" if language == "zh" and count else said
    numbers = tuple(lexicon.NUMBERS[language][number] for number in range(4) if number != count)
    words = {"x": said, "are": "is" if count == 1 else "are"}
    return slots, words, lexicon.NUMBERS[language][count], _apart(numbers, said)


def _things(scene: Scene, voice: Voice) -> Found | None:
    count = len(scene.things)
    number = lexicon.NUMBERS[voice.language][count]
    said = f"{number} thing{'' if count == 1 else 's'}" if voice.is_english else f"有{number}个东西"
    return {}, {"x": said, "are": "is" if count == 1 else "are"}, number, ()


def _at(scene: Scene, voice: Voice) -> Found | None:
    index = _pick_alone(scene, voice)
    if index is None or scene.bond:
        return None
    thing = scene.things[index]
    truth = lexicon.WORDS[voice.language][thing.kind][0]
    slots = {"x": nouns.place(thing.place, voice)}
    return slots, {"x": nouns.described(thing, voice.language)}, truth, ()


def _next_to(scene: Scene, voice: Voice) -> Found | None:
    found = relations(scene)
    if not found or len(scene.counts()) < len(scene.things):
        return None
    one, relation, other = voice.rng.choice(found)
    middles = centres(scene)
    if sum(holds(scene.bond, middles, n, relation, other) for n in range(len(scene.things)) if n != other) != 1:
        return None
    thing = scene.things[one]
    slots = {"rel": nouns.relation(relation, voice), "other": nouns.refer(scene, other, voice)}
    truth = lexicon.WORDS[voice.language][thing.kind][0]
    return slots, {"x": nouns.described(thing, voice.language)}, truth, ()


_OPEN: dict[str, Callable[[Scene, Voice], Found | None]] = {
    "colour": _attribute("colour"),
    "size": _attribute("size"),
    "pattern": _attribute("pattern"),
    "place": _attribute("place"),
    "ground": _of_frame("ground", GROUNDS),
    "style": _of_frame("style", ("flat", "outlined", "sketched")),
    "count": _count,
    "things": _things,
    "at": _at,
    "beside": _next_to,
}


def guess(scene: Scene, voice: Voice, kind: str, right: bool) -> Question | None:
    """A yes/no question of a row of `GUESSED` with a wanted answer; None when this picture does not allow one."""
    asked, answers = GUESSED[kind]
    found = _GUESS[kind](scene, voice, right)
    if found is None:
        return None
    slots, reply = found
    begin = (YES if right else NO)[voice.language]
    text = answers[voice.language].format(**reply)
    if kind == "kind" and not voice.is_english and not right:
        text = f"没{text}"
    text = f"{begin}, {text}." if voice.is_english else f"{begin}，{text}。"
    return _finish(voice.pick(asked, **slots), text, voice, f"is {kind}", "yes" if right else "no")


Guessed = tuple[Words, Words] | None


def _guess_attribute(name: str) -> Callable[[Scene, Voice, bool], Guessed]:
    def ask(scene: Scene, voice: Voice, right: bool) -> Guessed:
        index = _pick_alone(scene, voice)
        if index is None:
            return None
        value, language = getattr(scene.things[index], name), voice.language
        # The nearest wrong guess is what another thing looks like.
        near = [getattr(thing, name) for thing in scene.things if getattr(thing, name) != value]
        far = [each for each in ATTRIBUTES[name] if each != value]
        said = value if right else voice.rng.choice(near if near and voice.chance(0.4) else far)
        words = nouns.place(said, voice) if name == "place" else nouns.word(said, voice)
        slots = {"it": nouns.refer(scene, index, voice), "x": words}
        return slots, {"that": _the(scene, index, language), "x": _usual(name, value, language)}

    return ask


def _guess_kind(scene: Scene, voice: Voice, right: bool) -> Guessed:
    kinds = list(scene.counts())
    kind = voice.rng.choice(kinds if right else [each for each in KINDS if each not in kinds])
    if right:
        thing = next(thing for thing in scene.things if thing.kind == kind)
        count = scene.counts()[kind]
        there = nouns.described(thing, voice.language) if count == 1 else _numbered(count, kind, voice.language)
        return {"x": nouns.wished({"kind": kind}, voice)}, {"x": there}
    return {"x": nouns.wished({"kind": kind}, voice)}, {"x": f"no {kind}" if voice.is_english else kind}


def _guess_relation(scene: Scene, voice: Voice, right: bool) -> Guessed:
    if len(scene.counts()) < len(scene.things) or len(scene.things) < 2:
        return None
    one, relation, other = voice.rng.choice(relations(scene))
    said = relation
    if not right:
        middles = centres(scene)
        wrong = [each for each in RELATIONS if not holds(scene.bond, middles, one, each, other)]
        said = voice.rng.choice([each for each in wrong if each in SIDES] or wrong)
    slots = {"it": nouns.refer(scene, one, voice), "other": nouns.refer(scene, other, voice),
             "x": nouns.relation(said, voice)}  # fmt: skip
    language = voice.language
    return slots, {"that": _the(scene, one, language), "other": _the(scene, other, language),
                   "x": _usual("relation", relation, language)}  # fmt: skip


def _guess_ground(scene: Scene, voice: Voice, right: bool) -> Guessed:
    said = scene.ground if right else voice.rng.choice([each for each in GROUNDS if each != scene.ground])
    return {"x": nouns.ground(said, voice)}, {"x": _usual("ground", scene.ground, voice.language)}


def _guess_count(scene: Scene, voice: Voice, right: bool) -> Guessed:
    kind, count = voice.rng.choice(list(scene.counts().items()))
    if right and count < 2:
        return None
    said = count if right else voice.rng.choice([number for number in (2, 3) if number != count])
    words = {"x": _numbered(count, kind, voice.language), "are": "is" if count == 1 else "are"}
    return {"x": _numbered(said, kind, voice.language)}, words


def _guess_alike(scene: Scene, voice: Voice, right: bool) -> Guessed:
    if len(scene.counts()) < len(scene.things) or len(scene.things) < 2:
        return None
    one, other = voice.rng.sample(range(len(scene.things)), 2)
    first, second = scene.things[one], scene.things[other]
    if (first.colour == second.colour) is not right:
        return None
    language = voice.language
    slots = {"it": nouns.refer(scene, one, voice, False), "other": nouns.refer(scene, other, voice, False)}
    return slots, {"that": _the(scene, one, language), "other": _the(scene, other, language),
                   "x": _usual("colour",
                   first.colour, language), "y": _usual("colour", second.colour, language)}  # fmt: skip


_GUESS: dict[str, Callable[[Scene, Voice, bool], Guessed]] = {
    "kind": _guess_kind,
    "colour": _guess_attribute("colour"),
    "size": _guess_attribute("size"),
    "pattern": _guess_attribute("pattern"),
    "place": _guess_attribute("place"),
    "relation": _guess_relation,
    "ground": _guess_ground,
    "count": _guess_count,
    "alike": _guess_alike,
}


def describe(scene: Scene, voice: Voice, own: bool = False) -> Question:
    """What a picture shows, in the canonical words of the language."""
    said: Row = OWN if own else DESCRIBE
    answer = description(scene, voice.language)
    return Question(typed(voice.pick(said), voice), answer, "describe", answer)


def question(scene: Scene, voice: Voice) -> Question:
    """Any question but to describe: half of them to be answered by yes or no, and half of those by no."""
    while True:
        if voice.chance(0.5):
            found = open_question(scene, voice, voice.rng.choice(list(OPEN)))
        else:
            found = guess(scene, voice, voice.rng.choice(list(GUESSED)), voice.chance(0.5))
        if found is not None:
            return found
