"""Questions that are answered by a value, a number or a thing."""

from collections.abc import Callable, Mapping

from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import centres
from llmga.toyworld.world.relations import holds, relations
from llmga.toyworld.world.scene import ATTRIBUTES, Scene
from llmga.toyworld.world.talk import lexicon, nouns
from llmga.toyworld.world.talk.asked_words import Question, Words, finished, numbered, pick_alone, the, usual
from llmga.toyworld.world.talk.question_phrases import OPEN
from llmga.toyworld.world.talk.voice import Voice


def open_question(scene: Scene, voice: Voice, kind: str) -> Question | None:
    """A question of a row of `OPEN`; None when this picture does not allow one."""
    asked, answers = OPEN[kind]
    found = _OPEN[kind](scene, voice)
    if found is None:
        return None
    slots, reply, truth, others = found
    text = voice.pick(asked, **slots)
    return finished(text, answers[voice.language].format(**slots | reply), voice, kind, truth, others)


Found = tuple[Words, Words, str, tuple[str, ...]]


def _attribute(name: str) -> Callable[[Scene, Voice], Found | None]:
    def ask(scene: Scene, voice: Voice) -> Found | None:
        index = pick_alone(scene, voice)
        if index is None:
            return None
        value, language = getattr(scene.things[index], name), voice.language
        truth = usual(name, value, language)
        that = the(scene, index, language)
        others = tuple(usual(name, each, language) for each in ATTRIBUTES[name] if each != value)
        words = {"x": truth, "that": that, "That": that[:1].upper() + that[1:]}
        return {"it": nouns.refer(scene, index, voice)}, words, truth, _apart(others, truth)

    return ask


def _apart(others: tuple[str, ...], truth: str) -> tuple[str, ...]:
    """Words that are no part of the right one (`左` of `左上角`)."""
    return tuple(other for other in others if other not in truth)


def _of_frame(name: str, values: Mapping[str, object] | tuple[str, ...]) -> Callable[[Scene, Voice], Found | None]:
    def ask(scene: Scene, voice: Voice) -> Found | None:
        value = getattr(scene, name)
        truth = usual(name, value, voice.language)
        others = tuple(usual(name, each, voice.language) for each in values if each != value)
        return {}, {"x": truth}, truth, _apart(others, truth)

    return ask


def _count(scene: Scene, voice: Voice) -> Found | None:
    kind = voice.rng.choice(list(scene.counts()) if scene.things and voice.chance(0.8) else list(KINDS))
    count, language = scene.counts().get(kind, 0), voice.language
    noun = nouns.word(kind, voice)
    slots = {"xs": nouns.plural(noun) if voice.is_english else noun, "m": lexicon.MEASURES[kind]}
    said = numbered(count, kind, language)
    said = f"有{said}" if language == "zh" and count else said
    numbers = tuple(lexicon.NUMBERS[language][number] for number in range(4) if number != count)
    words = {"x": said, "are": "is" if count == 1 else "are"}
    return slots, words, lexicon.NUMBERS[language][count] if count else said, _apart(numbers, said)


def _things(scene: Scene, voice: Voice) -> Found | None:
    count = len(scene.things)
    number = lexicon.NUMBERS[voice.language][count]
    said = f"{number} thing{'' if count == 1 else 's'}" if voice.is_english else f"有{number}个东西"
    return {}, {"x": said, "are": "is" if count == 1 else "are"}, number, ()


def _at(scene: Scene, voice: Voice) -> Found | None:
    index = pick_alone(scene, voice)
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
