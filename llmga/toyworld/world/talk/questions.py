"""Questions about a picture, yes and no in equal parts, with answers that follow from its scene."""

from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk.answers import description
from llmga.toyworld.world.talk.asked_words import Question
from llmga.toyworld.world.talk.guesses import RARE, guess
from llmga.toyworld.world.talk.open_questions import open_question
from llmga.toyworld.world.talk.question_phrases import DESCRIBE, GUESSED, OPEN, OWN
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.voice import Row, Voice


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
            kind, right = voice.rng.choice(list(GUESSED)), voice.chance(0.5)
            if not right and not voice.chance(RARE.get(kind, 1.0)):
                continue
            found = guess(scene, voice, kind, right)
        if found is not None:
            return found
