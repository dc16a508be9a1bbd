"""What flags offer is what the tables hold."""

import subprocess
import sys
from importlib import import_module

import pytest

from llmga import choices

TABLES = {
    "TEMPLATES": "llava.templates.TEMPLATES",
    "ATTENTIONS": "llava.placement.ATTENTIONS",
    "CHECKPOINT_LAYOUTS": "llava.convert.LAYOUTS",
    "SAMPLERS": "diffusers.samplers.SAMPLERS",
    "AREAS": "diffusers.inpainting.AREAS",
    "FILLS": "diffusers.canvas.FILLS",
    "PROMPT_LAYOUTS": "diffusers.long_prompt.LAYOUTS",
    "RESTORERS": "diffrir.restorers.RESTORERS",
    "DTYPES": "runtime.DTYPES",
    "FORMATS": "assistant.image_files.FORMATS",
    "INLINE": "serve.terminal.inline.INLINE",
    "SEEDS": "serve.story.SEEDS",
    "DAMAGES": "evaluation.restoration.DAMAGES",
    "TOYWORLD_STEPS": "toyworld.pretrain.STEPS",
}
STATED_HERE_ONLY = {"PICTURE", "TASKS", "OFFLOADS", "SCALES"}  # their modules import them


def names_of(place: str) -> tuple[str, ...]:
    module, _, table = place.rpartition(".")
    return tuple(getattr(import_module(f"llmga.{module}"), table))


@pytest.mark.parametrize("name", TABLES)
def test_names_are_those_of_the_table_in_its_order(name):
    assert getattr(choices, name) == names_of(TABLES[name])


def test_no_tuple_of_names_is_left_unchecked():
    listed = {name for name, value in vars(choices).items() if name.isupper() and isinstance(value, tuple)}
    assert listed == TABLES.keys() | STATED_HERE_ONLY


def test_the_usual_restorer_is_a_row():
    assert choices.RESTORER in choices.RESTORERS


def test_nothing_is_loaded_for_a_list_of_names():
    told = "import sys, llmga.choices; print(sorted({'torch', 'numpy', 'PIL'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout == "[]\n"
