"""Plain text of the larger world, for a base language model and its vocabulary."""

import random
from collections.abc import Iterator

from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.talk.answers import description, prompt
from llmga.toyworld.world.talk.dialogues import Plan, conversation, speaker

CAPTIONS = 0.2  # share of the texts that are captions
WORDS = Plan(pictures=False)  # of a picture that nobody sees, text can teach nothing


def corpus(rng: random.Random, size: int, plan: Plan = WORDS) -> Iterator[str]:
    """So many texts: captions of every form, and conversations as a book would print them."""
    for _ in range(size):
        if rng.random() < CAPTIONS:
            scene = random_scene(rng)
            chinese = rng.random() < plan.chinese
            yield description(scene, "zh") if chinese else prompt(scene, rng, rng.random() < plan.long)
        else:
            yield "\n".join(f"{turn.person}\n{turn.answer}" for turn in conversation(speaker(rng, plan), plan))
