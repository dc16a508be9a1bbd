"""Every benchmark runs, at a size that says nothing about speed; what it prints is not judged here."""

import importlib.util
import json
import shutil
import threading
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest
from accelerate.state import AcceleratorState

from llmga.errors import reason
from llmga.evaluation.expected import expected
from llmga.registry import Registry

ROOT = Path(__file__).parents[1]
SMALL = {
    "chat_turns": "--layers 1 --width 64 --vocabulary 2000 --vision-layers 2 --vision-width 64 --side 28 "
    "--tokens 3 --repeats 2",
    "code_figures": "",
    "diffrir": "--dim 8 --side 64 --tile 64 --overlap 32 --repeats 1",
    "generation": "--steps 2 --rounds 1",
    "matching": "--side 96 --repeats 1",
    "page_ready": "--visits 1 --turns 2",
    "server_load": "--clients 4 --seconds 2 --queue 2 --at-once 2 --rounds 1",
    "server_recovery": "--requests 24 --clients 2",
    "server_replicas": "--pictures 8",
    "single_file": "--width 32 --rounds 1",
    "stage1_data": "--records 40 --small 20 --samples 4",
    "stage1_gpu": "--layers 1 --rows 1 --length 64 --steps 1",
    "stage1_throughput": "--samples 6 --batch 2 --width 64 --layers 1",
    "stage2_throughput": "--side 64 --batch 2 --steps 1 --width 32",
    "start": "llmga.download",
    "turn_path": "terminal",
    "vocabulary_loss": "--vocabulary 500 --positions 64 --width 16",
}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_benchmark_is_tried():
    assert set(SMALL) == {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


NEEDS = {"page_ready": ("chromium", "chromium-browser", "google-chrome")}  # one of these programs


# These load the bundled models, start clusters, or write much.
HEAVY = ("generation", "server_load", "server_recovery", "server_replicas", "stage1_data", "turn_path")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in HEAVY else name for name in SMALL]
)
def test_prints_positive_figures_as_json(name: str, capsys, monkeypatch):
    if name in NEEDS and not any(map(shutil.which, NEEDS[name])):
        pytest.skip(f"no {NEEDS[name][0]} here; bash scripts/browser.sh installs it")
    monkeypatch.chdir(ROOT)
    AcceleratorState._reset_state(reset_partial_state=True)  # a training before, in this process, had its own precision
    assert script(name).main(SMALL[name].split()) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures and all(value == value for value in figures.values())


SOURCE = """
class Job: ...
class Page:
    def told(self, args: argparse.Namespace | None) -> None:
        return None
def _told(text: str) -> str:
    class Job: ...
    def told(*, args: Namespace, rest: SimpleNamespace | None = None) -> str:

        return text
    return told(args=text)
async def main(rest: SimpleNamespace): ...
"""


def test_code_is_counted(tmp_path: Path):
    (tmp_path / "words.py").write_text(SOURCE)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "words.py").write_text("")
    assert script("code_figures").figures(tmp_path, most=2) == {
        "files": 2,
        "lines": 12,
        "file_lines": {"median": 12, "p90": 12, "most": 12},
        "functions": 4,
        "function_lines": {"median": 3, "p90": 6, "most": 6},
        "classes_repeated": {"Job": 2},
        "files_repeated": {"words.py": 2},
        "functions_repeated": {"told": 3},
        "take_namespace": 2,
    }


def test_only_what_is_entered_in_time_and_in_any_thread_is_traced():
    trace = script("turn_path").Trace()
    trace.listen()
    try:
        registry = Registry("row", {"a": 1})
        trace.start()
        assert "a" in registry
        thread = Thread(target=reason, args=(ValueError("meanwhile"),))
        thread.start()
        thread.join()
        trace.stop()
        assert list(registry) == ["a"]
    finally:
        threading.setprofile(None)
    assert list(trace.functions) == ["llmga/registry.py:Registry.__contains__", "llmga/errors.py:reason"]
    assert trace.figures() == {"files": 2, "functions": 2, "deepest": 1, "to_language_model": 0}


def test_every_command_is_found():
    found = set(script("start").entry_points())
    assert {"llmga.download", "llmga.serve.cli2-sdxl", "llmga.llava.train.train"} <= found
    assert "llmga.errors" not in found


def test_a_heavy_library_is_seen():
    start = script("start")
    assert "json" in start.imported(start.started("-X", "importtime", "-c", "import json")[1].stderr)


ON_A_GPU = ("diffrir", "generation", "stage1_throughput", "stage2_throughput")


@pytest.mark.long
@pytest.mark.parametrize("name", ON_A_GPU)
def test_what_a_gpu_would_need_is_known_without_one(name: str, monkeypatch):
    monkeypatch.chdir(ROOT)
    alone = {"diffrir": "--measure 64,0 --dtype bf16", "generation": "--only ours"}.get(name, "")
    needed = expected(f"benchmarks/{name}.py", [*SMALL[name].split(), *alone.split()])
    formats = {"diffrir": {"bfloat16"}, "generation": {"float16"}}.get(name, {"float32"})
    assert (set(needed["tflop"]), needed["megabytes"] > 0) == (formats, True)
