"""What a question is, and the words that questions and answers share."""

from dataclasses import dataclass

from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk import lexicon, nouns
from llmga.toyworld.world.talk.sentences import articles
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Voice

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


def usual(name: str, value: str, language: str) -> str:
    """A value in the words of an answer."""
    if name == "place":
        return lexicon.WHERE[language][value][0]
    if name == "ground":
        return lexicon.GROUNDS[language][value][0]
    if name == "relation":
        return lexicon.BESIDE[language][value][0]
    return lexicon.WORDS[language][value][0]


def the(scene: Scene, index: int, language: str) -> str:
    """A thing as an answer speaks of it: by its kind, which a question has made clear."""
    noun = lexicon.WORDS[language][scene.things[index].kind][0]
    return f"the {noun}" if language == "en" else noun


def numbered(count: int, kind: str, language: str) -> str:
    """`two stars`, `两颗星星`, `no stars`."""
    noun, number = lexicon.WORDS[language][kind][0], lexicon.NUMBERS[language][count]
    if language == "en":
        return f"{number} {noun if count == 1 else nouns.plural(noun)}"
    return f"{number}{lexicon.MEASURES[kind] if count else ''}{noun}"


def finished(text: str, answer: str, voice: Voice, kind: str, truth: str, others: tuple[str, ...] = ()) -> Question:
    answer = articles(answer[:1].upper() + answer[1:]) if voice.is_english else answer
    return Question(typed(articles(text) if voice.is_english else text, voice), answer, kind, truth, others)


def pick_alone(scene: Scene, voice: Voice) -> int | None:
    """A thing of whose kind there is only one, so that its answer can call it by that."""
    counts = scene.counts()
    alone = [number for number, thing in enumerate(scene.things) if counts[thing.kind] == 1]
    return voice.rng.choice(alone) if alone else None
