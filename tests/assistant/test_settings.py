"""One table of settings: every front end follows it."""

import re
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from typing import Annotated, get_type_hints

import gradio as gr
import numpy as np
import pytest

from llmga import choices
from llmga.assistant.record import Record, Words
from llmga.assistant.settings import (
    SETTINGS,
    Changes,
    Fill,
    Lock,
    Setting,
    Settings,
    settings_given,
    settings_of,
    usual_edits,
)
from llmga.command_line import Parser
from llmga.errors import UserError
from llmga.serve import args as flags
from llmga.serve import parsed_args
from llmga.serve.api.chat_schemas import ChatRequest
from llmga.serve.api.image_schemas import GenerationRequest
from llmga.serve.api.setting_fields import model_of
from llmga.serve.page import labels, strings
from llmga.serve.page.controls import Controls
from llmga.serve.page.labels import Labels
from llmga.serve.terminal.settings_command import CHANGES, changed, read
from llmga.typed import typed, within

PIPELINE = {"steps": 3, "guidance_scale": 2.5, "sampler_name": "checkpoint"}
NOT_SETTINGS = {"repaint", "edit", "source_prompt", "control_images"}  # no single values, or not chosen


def parsers():
    return [flags.build_parser("cli", "a test", task=task) for task in (None, "inpainting", "editing")]


def test_every_field_is_a_row():
    fields = set(get_type_hints(Settings)) | set(get_type_hints(Changes)) | {"fill", "lock"}
    assert set(SETTINGS) == fields - NOT_SETTINGS


@pytest.mark.parametrize("name", SETTINGS)
def test_a_row_is_offered_where_it_says(name):
    row = SETTINGS[name]
    known = {option for parser in parsers() for option in parser._option_string_actions}
    assert (f"--{row.flag}" in known) == bool(row.flag)
    assert (row in CHANGES.values()) == bool(row.command)
    fields = ChatRequest.model_fields | GenerationRequest.model_fields
    assert not row.request or fields[row.request].description == row.help or row.request == "n"
    with gr.Blocks():
        shown = Controls(Labels(), Settings(), PIPELINE, "match").named
    assert (name in shown) == (row.label is not None)
    assert any((row.flag, row.command, row.request, row.label)) or name == "previews"  # which every page asks for


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.record])
def test_a_record_has_the_key_that_the_row_says(name):
    part, _, key = SETTINGS[name].record.rpartition(".")
    hints = get_type_hints(Record)
    assert key in (get_type_hints(hints[part]) if part else hints)


def test_every_way_of_sampling_words_that_a_record_has_is_a_setting():
    assert {f"words.{key}" for key in get_type_hints(Words)} - {row.record for row in SETTINGS.values()} == {
        "words.seed"
    }


def test_what_is_left_out_on_a_command_line_is_the_usual_value():
    words, inpainting, editing = (parsed_args.settings(parser.parse_args(["--batch", "x"])) for parser in parsers())
    assert words == Settings()
    assert inpainting == Settings(repaint={"strength": None, "area": "picture", "soft": False})
    usual = {"skip": 0.25, "ratio": 3.0, "picture_guidance": None}
    assert editing == Settings(edit=usual) == Settings(edit=usual_edits())


def test_saved_settings_have_the_keys_that_they_always_had():
    keys = (
        "temperature top_p max_new_tokens seed picture steps guidance_scale negative_prompt size sampler repaint edit "
    )
    keys += "restorer upscale versions previews paint clip_skip control control_images"
    assert list(asdict(Settings())) == keys.split()
    assert typed(Settings, {"temperature": 3.5, "edit": {"skip": 1.0}, "size": [64, 48], "later": 1}) == Settings(
        temperature=3.5, edit={"skip": 1.0}, size=(64, 48)
    )


def test_choices_of_few_are_those_of_the_tables():
    assert (SETTINGS["picture"].names, SETTINGS["upscale"].names) == (choices.PICTURE, choices.SCALES)


@dataclass(frozen=True)
class More(Settings):
    """The settings, and one that somebody added."""

    warmth: Annotated[
        float, within(0, 10), Setting("painting", "how warm it looks", ("Warmth", "暖度"), slider=(0, 10, 0.5))
    ] = 1.5


MORE = settings_of(More, fill=Fill, lock=Lock)
WARMTH = MORE["warmth"]


def test_a_row_that_is_added_is_a_flag(capsys):
    parser = Parser(prog="a test")
    flags.add_setting(parser, WARMTH)
    assert (parser.parse_args([]).warmth, parser.parse_args(["--warmth", "7"]).warmth) == (1.5, 7.0)
    assert "how warm it looks, 0 to 10 (default: 1.5)" in " ".join(parser.format_help().split())
    with pytest.raises(SystemExit):
        parser.parse_args(["--warmth", "11"])
    assert "use a number, 0 to 10" in capsys.readouterr().err


def test_a_row_that_is_added_is_set_and_given_back():
    chosen = changed(More(), WARMTH, read(WARMTH, "2.5"))
    assert (chosen.warmth, changed(chosen, WARMTH, None)) == (2.5, More())
    with pytest.raises(UserError, match="warmth: '11' is out of range; use a number, 0 to 10"):
        read(WARMTH, "11")


def test_a_row_that_is_added_is_a_control_in_both_languages(monkeypatch):
    monkeypatch.setattr(labels, "STRINGS", strings.strings_of(MORE))
    with gr.Blocks():
        controls = Controls(said := Labels(), More(warmth=4.0), PIPELINE, "match", MORE)
    slider = controls.named["warmth"]
    assert (slider.minimum, slider.maximum, slider.step, slider.value, slider.label) == (0, 10, 0.5, 4.0, "Warmth")
    assert "暖度" in {update.get("label") for update in said.in_language("zh")}
    values = {name: component.value for name, component in controls.named.items()} | {"warmth": 9}
    assert controls.chosen(list(values.values())).settings.warmth == 9.0
    again = dict(zip(controls.named, controls.shown(More(warmth=2.0)), strict=True))
    assert again["warmth"]["value"] == 2.0


def test_a_row_that_is_added_is_a_field_of_requests():
    asked = model_of("painting", {tuple: str}, MORE)
    assert asked(warmth=3).warmth == 3.0 and asked().warmth is None
    assert asked.model_fields["warmth"].description == "how warm it looks"
    with pytest.raises(ValueError, match="less than or equal to 10"):
        asked(warmth=11)


def test_a_row_that_is_added_is_saved_and_its_range_is_held():
    assert typed(More, asdict(More(warmth=3.0)) | {"control_images": []}) == More(warmth=3.0)
    with pytest.raises(ValueError, match="warmth is 11; allowed is 0 to 10"):
        typed(More, {"warmth": 11})
    assert WARMTH.record == "warmth"


def test_a_name_of_no_row_is_told_with_the_nearest():
    with pytest.raises(UserError, match="unknown fill 'egde', did you mean 'edge'"):
        SETTINGS["fill"].checked("egde")
    assert replace(SETTINGS["area"], names=("a",)).checked("a") == "a"


FROM_OUTSIDE = """
from llmga.assistant.settings import SETTINGS, Settings
from llmga.diffrir.restorers import RESTORERS
from llmga.serve import args
from llmga.serve.terminal.settings_command import changed, read
from llmga.typed import typed

RESTORERS.register("gray", lambda image, reference=None, mask=None: image.convert("L").convert("RGB"))
row = SETTINGS["restorer"]
print(changed(Settings(), row, read(row, "gray")).restorer)
print(typed(Settings, {"restorer": "gray"}).restorer)
print("gray" in args.build_parser("cli", "a test").format_help())
"""


def test_a_row_that_a_program_registers_is_offered_and_may_stand_in_files():
    done = subprocess.run([sys.executable, "-c", FROM_OUTSIDE], capture_output=True, text=True)
    assert done.stdout.split() == ["gray", "gray", "True"], done.stderr


REFUSED = {
    "versions is 0; use a whole number, 1 to 10.": {"versions": 0},
    "versions is 'x'; use a whole number, 1 to 10.": {"versions": "x"},
    "versions is 2.5; use a whole number, 1 to 10.": {"versions": 2.5},
    "versions is None; use a whole number, 1 to 10.": {"versions": None},
    "edit is True; give a dict with some of skip, ratio, picture_guidance.": {"edit": True},
    "edit is 0; give a dict": {"edit": 0},
    "repaint is None; give a dict with some of strength, area, soft.": {"repaint": None},
    "unknown key of repaint 'x'. Known are: strength, area, soft.": {"repaint": {"x": 1}},
    "soft is 'x'; use True or False.": {"repaint": {"soft": "x"}},
    "temperature is 9; use a number, 0 to 5.": {"temperature": 9},
    "temperature is 'x'; use a number, 0 to 5.": {"temperature": "x"},
    "top_p is 0; use a number, above 0, up to 1.": {"top_p": 0},
    "max_new_tokens is 1000000000; use a whole number": {"max_new_tokens": 10**9},
    "use text, a length of 0 to 131072, or None.": {"negative_prompt": "x" * 131_073},
    "upscale is True; use 2 or 4, or None.": {"upscale": True},
    "upscale is 1; use 2 or 4, or None.": {"upscale": 1},
    "unknown sampler ''. Known are: checkpoint, ": {"sampler": ""},
    "unknown restorer 'mach', did you mean 'match'?": {"restorer": "mach"},
    "seed is -1; use a whole number, 0 to 4294967295, or None.": {"seed": -1},
    "seed is '7'; use": {"seed": "7"},
    "seed is True; use": {"seed": True},
    "size is '64x64'; use (width, height), each 16 to 2048 pixels, or None.": {"size": "64x64"},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_value_that_cannot_be_is_refused_with_what_is_allowed(sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        settings_given(Settings(**REFUSED[sentence]))


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if not row.part_of])
def test_every_row_refuses_what_is_no_value_and_takes_its_default(name):
    with pytest.raises(UserError, match=f"^{name} is .*; use "):
        settings_given(replace(Settings(), **{name: object()}))
    assert settings_given(replace(Settings(), **{name: SETTINGS[name].default})) == Settings()


def test_numbers_of_numpy_become_pythons():
    found = settings_given(Settings(steps=np.int64(5), size=[64, np.int32(48)], temperature=np.float32(0.5)))
    assert (found, type(found.steps)) == (Settings(steps=5, size=(64, 48), temperature=0.5), int)


def test_settings_that_are_none_are_refused():
    with pytest.raises(UserError, match=re.escape("the settings are of type dict; give llmga.Settings(…).")):
        settings_given({"steps": 3})
    assert settings_given(None) == Settings()
