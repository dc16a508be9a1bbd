"""What flags offer is what the tables hold."""

import subprocess
import sys
from importlib import import_module

import pytest

from llmga import choices
from llmga.evaluation.toyworld_scores import Counts

TABLES = {
    "TEMPLATES": "llava.templates.TEMPLATES",
    "ATTENTIONS": "llava.placement.ATTENTIONS",
    "CHECKPOINT_LAYOUTS": "llava.conversion.LAYOUTS",
    "PAINTER_LAYOUTS": "diffusers.single_file.writing.LAYOUTS",
    "SAMPLERS": "diffusers.samplers.SAMPLERS",
    "AREAS": "diffusers.inpainting.AREAS",
    "FILLS": "diffusers.canvas.FILLS",
    "CONTROLS": "diffusers.control_maps.CONTROLS",
    "PROMPT_LAYOUTS": "diffusers.long_prompt.LAYOUTS",
    "RESTORERS": "diffrir.restorers.RESTORERS",
    "DTYPES": "runtime.DTYPES",
    "FORMATS": "assistant.image_files.FORMATS",
    "INLINE": "serve.terminal.inline.INLINE",
    "SEEDS": "serve.story.SEEDS",
    "DAMAGES": "evaluation.restoration_scores.DAMAGES",
    "TOYWORLD_STEPS": "toyworld.base_models.STEPS",
}
STATED_HERE_ONLY = {
    "TOYWORLD_PARTS",
    "PICTURE",
    "TASKS",
    "OFFLOADS",
    "PAINTER_QUANTS",
    "SCALES",
}  # their modules import them


def names_of(place: str) -> tuple[str, ...]:
    module, _, table = place.rpartition(".")
    return tuple(getattr(import_module(f"llmga.{module}"), table))


@pytest.mark.parametrize("name", TABLES)
def test_names_are_those_of_the_table_in_its_order(name):
    assert getattr(choices, name) == names_of(TABLES[name])


def test_no_tuple_of_names_is_left_unchecked():
    listed = {name for name, value in vars(choices).items() if name.isupper() and isinstance(value, tuple)}
    assert listed == TABLES.keys() | STATED_HERE_ONLY


def test_the_parts_that_are_judged_in_the_toy_world_are_those_that_are_counted():
    assert tuple(vars(Counts())) == choices.TOYWORLD_PARTS


def test_the_usual_restorer_is_a_row():
    assert choices.RESTORER in choices.RESTORERS


def test_nothing_is_loaded_for_a_list_of_names():
    told = "import sys, llmga.choices; print(sorted({'torch', 'numpy', 'PIL'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout == "[]\n"
