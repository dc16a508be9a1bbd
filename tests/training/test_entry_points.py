"""The commands of the trainings read their flags before they import what trains."""

import subprocess
import sys

import pytest

from llmga.diffrir import model, perceptual
from llmga.diffrir.train import config as restorer
from llmga.training.config import parse_arguments

ENTRIES = ["llava.train.train", "llava.train.doctor", "llava.train.preflight", "diffusers.train.train",
           "diffrir.train.train"]  # fmt: skip
HEAVY = ("torch", "transformers", "diffusers", "scipy", "gradio", "accelerate", "deepspeed")
HELP = """
import importlib, sys
main = importlib.import_module("llmga.{entry}").main
try:
    main(["--help"])
except SystemExit:
    print("loaded:", *[name for name in {heavy} if name in sys.modules])
"""


@pytest.mark.parametrize("entry", ENTRIES)
def test_help_loads_no_large_library(entry):
    script = HELP.format(entry=entry, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--preset NAME" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_figures_that_the_settings_repeat_are_those_of_the_network():
    assert restorer.WINDOW == model.WINDOW
    config = parse_arguments(restorer.PRESETS, ["--preset", "x1-s1"])
    assert config.metrics == perceptual.FOLDER
    assert config.network == model.DiffRIRConfig()
