"""Which values the next picture is made with."""

from llmga.assistant.in_force import in_force
from llmga.assistant.settings import SETTINGS
from llmga.errors import UserError


def values(assistant, *names):
    return [in_force(assistant, SETTINGS[name]) for name in names]


def test_a_chosen_value_comes_before_the_checkpoints_and_that_before_the_usual(toy):
    assert values(toy(), "steps", "guidance_scale", "temperature") == [(3, False), (2.5, False), (0.2, False)]
    assistant = toy(steps=9, guidance_scale=2.5, temperature=0.5)
    assert values(assistant, "steps", "guidance_scale", "temperature") == [(9, True), (2.5, True), (0.5, True)]


def test_what_nobody_brings_is_the_usual(toy):
    assert values(toy(), "clip_skip", "negative_prompt", "control") == [(0, False), (None, False), ("off", False)]


def test_a_pipeline_that_cannot_be_described_is_left_to_paint(toy, toy_pipeline_class):
    class Silent(toy_pipeline_class):
        def describe(self, **given):
            raise UserError("not like this")

    assert values(toy(pipeline=Silent()), "steps") == [(None, False)]
