"""One conversation of the larger toy world, held with the product's own assistant and marked."""

import random
from collections.abc import Generator
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from llmga.assistant.assistant import Assistant
from llmga.assistant.settings import Settings
from llmga.diffrir.restorers import RESTORERS
from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.planner import Cancelled, Planner
from llmga.llava.sampling import Sampling
from llmga.toyworld.world import captions
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.layout import SIDE
from llmga.toyworld.world.talk.bars import Case
from llmga.toyworld.world.talk.holes import with_hole
from llmga.toyworld.world.talk.marking import marks
from llmga.toyworld.world.talk.turns import Turn

HOLE_SEED = 0  # how much of a picture is hidden around a thing


class Pen:
    """Stands in for a painter: draws the scene that a prompt states."""

    def __call__(
        self, prompt: str, image: Image.Image | None = None, mask: Image.Image | None = None, **rest: Any
    ) -> Image.Image:
        """The picture; of one that is given, only what the mask says is drawn.

        Raises:
            UserError: the prompt states no scene.
        """
        scene = captions.read(prompt)
        if scene is None:
            raise UserError(f"the prompt {prompt!r} states no scene; say it in canonical sentences.")
        drawn = draw(scene, *(image.size if image else (SIDE, SIDE)))
        return Image.composite(drawn, image.convert("RGB"), mask.convert("L")) if image and mask else drawn

    def describe(self, **given: Any) -> dict[str, Any]:
        """What a record says of it: nothing."""
        return {}


class Led(Planner):
    """A planner that is heard at the turns that are judged, while the conversation goes on as it was taught.

    So every turn is judged after a faultless history, and the last one goes into the conversation as it was said.

    Attributes:
        heard: turn -> the planner's answer.
    """

    def __init__(self, planner: Planner, case: Case):
        self.planner, self.case = planner, case
        self.heard: dict[int, str] = {}

    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Generator[str]:
        number = len(conversation.messages) // 2
        if number in self.case.judged:
            self.heard[number] = "".join(self.planner.reply(conversation, sampling, cancelled))
        is_last = number == len(self.case.turns) - 1
        yield self.heard[number] if is_last and number in self.heard else self.case.turns[number].answer


def held(case: Case, planner: Planner, seed: int = 0) -> dict[int, tuple[str, dict[str, bool]]]:
    """Hold a conversation.

    Returns:
        Judged turn -> the planner's answer, and its marks as `marking.marks` gives them.
    """
    led = Led(planner, case)
    assistant = Assistant(led, Pen(), RESTORERS["none"], Settings(seed=seed))
    for turn in case.turns:
        list(assistant.stream(turn.person, pictures(turn), mask_of(turn)))  # a prompt without a scene fails as an event
        assistant.leave_region()
    return {number: (answer, marks(case.turns[number], answer)) for number, answer in led.heard.items()}


def pictures(turn: Turn) -> tuple[Image.Image, ...]:
    """What a person shows with a turn."""
    return tuple(map(draw, turn.shown))


def mask_of(turn: Turn) -> Image.Image | None:
    """White where a thing of the one shown picture is to be painted anew."""
    if turn.hidden is None:
        return None
    (scene,) = turn.shown
    covered = with_hole(scene, turn.hidden, random.Random(HOLE_SEED))
    changed = np.any(np.asarray(ImageChops.difference(covered, draw(scene))), axis=-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    mask = np.zeros(changed.shape, np.uint8)
    mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 255
    return Image.fromarray(mask)
