"""A chat and a pipeline that obey the contracts without any model."""

from types import SimpleNamespace

import pytest
from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.session import Settings
from llmga.compositing import paste_back
from llmga.errors import UserError
from llmga.llava.planner import Planner


class ToyChat(Planner):
    """Says the given replies, one a turn, in pieces of five letters."""

    steers = True

    def __init__(self, *replies):
        self.replies = list(replies)
        self.samplings, self.given = [], 0

    def _answer(self, conversation, sampling, cancelled):
        self.samplings.append(sampling)
        self.conversation = conversation
        reply = self.replies.pop(0)
        for start in range(0, len(reply), 5):
            if cancelled():
                break
            self.given += 1
            yield reply[start : start + 5]


class ToyPipeline:
    """Paints a plain colour that tells the seed; a prompt with "forbidden" is refused, one with "broken" a defect."""

    total = 3

    def __init__(self):
        self.calls, self.steps_done = [], 0

    def __call__(self, prompt, image=None, mask=None, *, seed=0, size=None, on_step=None, restore=None, **rest):
        self.calls.append(SimpleNamespace(prompt=prompt, image=image, mask=mask, seed=seed, size=size, **rest))
        if "forbidden" in prompt:
            raise UserError("this prompt is forbidden; ask for another.")
        if "broken" in prompt:
            raise RuntimeError("a defect")
        for step in range(1, self.total + 1):
            self.steps_done += 1
            on_step(step, self.total)
        if mask is None:
            return Image.new("RGB", size or (16, 8), (seed % 256, seed // 256 % 256, 9))
        painting = Image.new("RGB", image.size, (seed % 256, seed // 256 % 256, 9))
        return paste_back(image, restore(painting, image, mask), mask)

    def describe(self, **given):
        own = {"family": "toy", "sampler": "ToySampler", "steps": self.total, "guidance_scale": 2.5}
        return own | {name: value for name, value in given.items() if value is not None}


@pytest.fixture
def toy():
    """`toy(*replies, restorer=…, **settings)` is an assistant whose chat says these replies."""

    def make(*replies, restorer=lambda image, reference, mask: image, pipeline=None, **settings):
        return Assistant(ToyChat(*replies), pipeline or ToyPipeline(), restorer, Settings(**settings))

    return make


@pytest.fixture
def toy_pipeline_class():
    return ToyPipeline
