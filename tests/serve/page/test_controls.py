"""The controls: their order, what they mean, and what happens at them."""

import gradio as gr
import pytest

from llmga.assistant.bounds import Bounds
from llmga.assistant.settings import SETTINGS, Settings
from llmga.diffusers.samplers import SAMPLERS
from llmga.serve.page.control_events import ControlEvents
from llmga.serve.page.controls import Controls
from llmga.serve.page.labels import Labels

PIPELINE = {"steps": 20, "guidance_scale": 7.5, "sampler_name": "ddim", "size": [512, 512]}
IN_FRONT = ["size", "versions", "seed", "lock", "steps", "guidance_scale", "negative_prompt", "sampler", "restorer"]


class Painter:
    native_size = (512, 512)

    def describe(self, **options):
        return PIPELINE

    def suits(self, sampler):
        row = SAMPLERS[sampler]
        return {"steps": row.steps or 20, "guidance_scale": row.guidance_scale or 7.5}


@pytest.fixture(scope="module")
def events():
    with gr.Blocks() as blocks:
        controls = Controls(Labels(), Settings(), PIPELINE, "match+blend")
        return ControlEvents(controls, blocks, gr.State(None))


@pytest.fixture(scope="module")
def controls(events):
    return events.controls


@pytest.fixture
def here(session):
    session = session("<gen_image> a fox </gen_image>", "<gen_image> a hare </gen_image>")
    session.assistant.pipeline.native_size = (512, 512)
    session.assistant.bounds = Bounds(pixels=512 * 512)
    return session


def values(controls, **said):
    return [(component.value, said.get(name))[name in said] for name, component in controls.named.items()]


def test_the_table_is_in_the_order_of_use():
    assert [row.name for row in SETTINGS.values() if not row.advanced] == IN_FRONT
    assert list(SETTINGS)[: len(IN_FRONT)] == IN_FRONT
    orders = [row.order for row in SETTINGS.values() if row.order]
    assert orders == sorted(set(orders))


def test_controls_stand_in_that_order(controls):
    assert list(controls.named)[: len(IN_FRONT)] == IN_FRONT
    assert all(SETTINGS[name].advanced for name in list(controls.named)[len(IN_FRONT) :])


def test_empty_fields_show_what_the_checkpoint_would_use_and_leave_it_to_it(controls):
    named = controls.named
    assert [named[name].value for name in ("steps", "guidance_scale", "size", "seed")] == ["", "", "", ""]
    assert [named[name].placeholder for name in ("steps", "guidance_scale", "size")] == ["20", "7.5", "512x512"]
    assert named["seed"].placeholder == "by chance" and named["sampler"].value == "ddim"
    chosen = controls.chosen(values(controls)).settings
    assert (chosen.steps, chosen.guidance_scale, chosen.size, chosen.sampler, chosen.restorer) == (None,) * 5


def test_a_sampler_shows_what_suits_it(events, here):
    here.assistant.pipeline = Painter()
    shown = dict(zip(events.controls.named, events.suiting(here, "lcm"), strict=True))
    assert (shown["steps"]["placeholder"], shown["guidance_scale"]["placeholder"]) == ("4", "1")
    assert shown["versions"] == gr.skip()


def seeds(session, controls, talk, times, **said):
    for _ in range(times):
        talk(session, chosen=controls.chosen(values(controls, **said)))
    return [call.seed for call in session.assistant.pipeline.pipeline.calls]


def test_a_seed_is_where_pictures_begin_and_a_kept_one_where_each_begins(controls, session, talk):
    replies = ["<gen_image> a fox </gen_image>"] * 3
    assert seeds(session(*replies), controls, talk, 3, seed="77") == [77, 78, 79]
    assert seeds(session(*replies), controls, talk, 3, seed="77", lock=True) == [77, 77, 77]


def test_the_seed_that_is_kept_is_the_latest_pictures(events, controls, here, talk):
    talk(here, chosen=controls.chosen(values(controls, seed="77")))
    assert events.keep(here, True, "") == "77"
    assert events.keep(here, True, "5") == events.keep(here, False, "") == gr.skip()
    assert 0 <= int(events.roll(here)["value"]) < 2**32


FIELDS = [
    ("steps", "0", "Use a whole number from 1 to 150."),
    ("steps", "x", "Use a whole number from 1 to 150."),
    ("steps", "151", "Use a whole number from 1 to 150."),
    ("steps", "20", ""),
    ("steps", " ", ""),
    ("guidance_scale", "-1", "Use a number from 0 to 100."),
    ("seed", "1.5", "Use a whole number from 0 to 4294967295."),
    ("seed", "4294967295", ""),
    ("size", "7x7", "Write it as 64x48; each side is a multiple of 8 from 16 to 2048."),
    ("size", "1024x1024", "This is more than is done for one answer here."),
    ("size", "512x256", ""),
    ("control", "crayon", "Write it as NAME"),
    ("control", "canny:0.6", ""),
]


@pytest.mark.parametrize(("name", "value", "said"), FIELDS)
def test_a_field_is_checked_where_it_is_typed(events, here, name, value, said):
    update, aloud = events.checked(name, here, value)
    assert said in update["info"] and bool(update["info"]) == bool(said) == bool(update["elem_classes"])
    assert said in aloud


def test_a_field_is_checked_in_the_language_of_the_page(events, here):
    here.language = "zh"
    assert "整数" in events.checked("seed", here, "x")[0]["info"]


def test_an_aspect_is_a_size_of_the_painter_and_back(events, here):
    size = events.size(here, "16:9")["value"]
    assert size == "672x384" and events.aspect(here, size) == "16:9"
    assert events.aspect(here, "512x64") is events.aspect(here, "wide") is events.aspect(here, "") is None


def test_a_preset_is_saved_chosen_and_deleted(events, controls, here):
    shown = values(controls, steps="12", guidance_scale="3.5", size="512x384", temperature=0.7, seed="5", area="mask")
    presets, update = events.save(here, {}, "mine", *shown)
    assert update["choices"] == ["mine"] == events.offer(presets)["choices"] and "mine" in update["info"]
    taken = dict(zip(controls.named, events.take(presets, "mine"), strict=True))
    assert taken["seed"] == taken["lock"] == gr.skip()
    assert {name: taken[name]["value"] for name in ("steps", "size", "area")} == {
        "steps": "12",
        "size": "512x384",
        "area": "mask",
    }
    assert events.delete(presets, "mine")[0] == {}


def test_a_preset_that_cannot_be_is_told_and_one_from_elsewhere_changes_only_what_can_be(events, controls, here):
    unchanged, update = events.save(here, {}, " ", *values(controls))
    assert unchanged == gr.skip() and "Type a name" in update["info"]
    unchanged, update = events.save(here, {}, "x", *values(controls, steps="many"))
    assert unchanged == gr.skip() and "many" in update["info"]
    stored = {"x": {"steps": "-3", "sampler": "magic", "guidance_scale": "2", "top_p": "x", "no setting": 1}}
    taken = dict(zip(controls.named, events.take(stored, "x"), strict=True))
    assert [name for name, each in taken.items() if each != gr.skip()] == ["guidance_scale"]
    assert all(each == gr.skip() for each in events.take(stored, "new"))


def test_nobody_there_changes_nothing(events, controls):
    assert events.checked("steps", None, "x")[0]["info"] == ""
    assert events.size(None, "1:1") == gr.skip() and events.aspect(None, "512x512") is None
    assert events.save(None, {}, "x", *values(controls)) == (gr.skip(), gr.skip())


def test_a_feathered_mask_mixes_old_and_new(controls):
    chosen = controls.chosen(values(controls, strength=0.5))
    assert chosen.feathered(False) is chosen
    assert chosen.feathered(True).settings.repaint == {"strength": 0.5, "area": "picture", "soft": True}
