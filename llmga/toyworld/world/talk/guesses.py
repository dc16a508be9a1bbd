"""Questions that are answered by yes or no."""

from collections.abc import Callable

from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import centres
from llmga.toyworld.world.relations import RELATIONS, SIDES, holds, relations
from llmga.toyworld.world.scene import ATTRIBUTES, Scene
from llmga.toyworld.world.talk import lexicon, nouns
from llmga.toyworld.world.talk.asked_words import Question, Words, finished, numbered, pick_alone, the, usual
from llmga.toyworld.world.talk.question_phrases import GUESSED, NO, YES
from llmga.toyworld.world.talk.voice import Voice


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
    return finished(voice.pick(asked, **slots), text, voice, f"is {kind}", "yes" if right else "no")


Guessed = tuple[Words, Words] | None
# Few pictures allow a Yes to these: so often is a No asked for, that neither is the safe answer.
RARE = {"alike": 0.4, "count": 0.35}


def _guess_attribute(name: str) -> Callable[[Scene, Voice, bool], Guessed]:
    def ask(scene: Scene, voice: Voice, right: bool) -> Guessed:
        index = pick_alone(scene, voice)
        if index is None:
            return None
        value, language = getattr(scene.things[index], name), voice.language
        # The nearest wrong guess is what another thing looks like.
        near = [getattr(thing, name) for thing in scene.things if getattr(thing, name) != value]
        far = [each for each in ATTRIBUTES[name] if each != value]
        said = value if right else voice.rng.choice(near if near and voice.chance(0.4) else far)
        words = nouns.place(said, voice) if name == "place" else nouns.word(said, voice)
        slots = {"it": nouns.refer(scene, index, voice), "x": words}
        return slots, {"that": the(scene, index, language), "x": usual(name, value, language)}

    return ask


def _guess_kind(scene: Scene, voice: Voice, right: bool) -> Guessed:
    kinds = list(scene.counts())
    kind = voice.rng.choice(kinds if right else [each for each in KINDS if each not in kinds])
    if right:
        thing = next(thing for thing in scene.things if thing.kind == kind)
        count = scene.counts()[kind]
        there = nouns.described(thing, voice.language) if count == 1 else numbered(count, kind, voice.language)
        return {"x": nouns.wished({"kind": kind}, voice)}, {"x": there, "are": "is" if count == 1 else "are"}
    none = f"no {kind}" if voice.is_english else lexicon.WORDS["zh"][kind][0]
    return {"x": nouns.wished({"kind": kind}, voice)}, {"x": none, "are": "is"}


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
    return slots, {"that": the(scene, one, language), "other": the(scene, other, language),
                   "x": usual("relation", relation, language)}  # fmt: skip


def _guess_ground(scene: Scene, voice: Voice, right: bool) -> Guessed:
    said = scene.ground if right else voice.rng.choice([each for each in GROUNDS if each != scene.ground])
    return {"x": nouns.ground(said, voice)}, {"x": usual("ground", scene.ground, voice.language)}


def _guess_count(scene: Scene, voice: Voice, right: bool) -> Guessed:
    kind, count = voice.rng.choice(list(scene.counts().items()))
    if right and count < 2:
        return None
    said = count if right else voice.rng.choice([number for number in (2, 3) if number != count])
    words = {"x": numbered(count, kind, voice.language), "are": "is" if count == 1 else "are"}
    return {"x": numbered(said, kind, voice.language)}, words


def _guess_alike(scene: Scene, voice: Voice, right: bool) -> Guessed:
    if len(scene.counts()) < len(scene.things) or len(scene.things) < 2:
        return None
    one, other = voice.rng.sample(range(len(scene.things)), 2)
    first, second = scene.things[one], scene.things[other]
    if (first.colour == second.colour) is not right:
        return None
    language = voice.language
    slots = {"it": nouns.refer(scene, one, voice, False), "other": nouns.refer(scene, other, voice, False)}
    return slots, {"that": the(scene, one, language), "other": the(scene, other, language),
                   "x": usual("colour",
                   first.colour, language), "y": usual("colour", second.colour, language)}  # fmt: skip


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
