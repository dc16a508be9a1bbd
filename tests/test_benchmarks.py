"""Every benchmark runs, at a size that says nothing about speed; what it prints is not judged here."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from accelerate.state import AcceleratorState

ROOT = Path(__file__).parents[1]
SMALL = {
    "chat_turns": "--layers 1 --width 64 --vocabulary 2000 --vision-layers 2 --vision-width 64 --side 28 "
    "--tokens 3 --repeats 2",
    "diffrir": "--dim 8 --side 64 --tile 64 --overlap 32 --repeats 1",
    "generation": "--steps 2 --rounds 1",
    "matching": "--side 96 --repeats 1",
    "page_ready": "--visits 1",
    "server_load": "--clients 5 --seconds 2 --queue 2 --at-once 2",
    "stage1_data": "--records 40 --small 20 --samples 4",
    "stage1_gpu": "--layers 1 --rows 1 --length 64 --steps 1",
    "stage1_throughput": "--samples 6 --batch 2 --width 64 --layers 1",
    "stage2_throughput": "--side 64 --batch 2 --steps 1 --width 32",
}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_benchmark_is_tried():
    assert set(SMALL) == {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


NEEDS = {"page_ready": ("chromium", "chromium-browser", "google-chrome")}  # one of these programs


@pytest.mark.parametrize("name", SMALL)
def test_prints_positive_figures_as_json(name: str, capsys, monkeypatch):
    if name in NEEDS and not any(map(shutil.which, NEEDS[name])):
        pytest.skip(f"no {NEEDS[name][0]} here; bash scripts/browser.sh installs it")
    monkeypatch.chdir(ROOT)
    AcceleratorState._reset_state(reset_partial_state=True)  # a training before, in this process, had its own precision
    assert script(name).main(SMALL[name].split()) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures and all(value == value for value in figures.values())
