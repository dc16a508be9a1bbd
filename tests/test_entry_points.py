"""`--help` of every program, at once: none of the large libraries is loaded for it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "diffusers", "scipy", "gradio", "accelerate", "datasets", "deepspeed", "fastapi"}
GUARD = '\nif __name__ == "__main__":\n'
PROGRAMS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "llmga").rglob("*.py")
    if GUARD in path.read_text("utf-8")
)
RUN = f"""
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as ended:
    print("ended with", ended.code or 0, *sorted({HEAVY} & sys.modules.keys()))
"""
MISTAKE = f"""
import sys
from llmga.__main__ import main
try:
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
print("ended with", code, *sorted({HEAVY} & sys.modules.keys()))
"""
# What importing could change and must not: variables, signals, logging, warnings, working folder, threads.
CHANGES = """
import logging, os, signal, sys, threading, warnings
def state():
    return (dict(os.environ), [signal.getsignal(each) for each in signal.valid_signals()], os.getcwd(), sys.path[:],
            logging.root.level, logging.root.handlers[:], warnings.filters[:], threading.active_count(), sys.excepthook)
before = state()
import llmga
print(before == state(), *sorted({'numpy', 'PIL', 'torch', 'argparse'} & sys.modules.keys()))
"""


def process(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_loads_no_large_library(module):
    ended = process("-c", RUN, module)
    *shown, last = ended.stdout.splitlines()
    assert (ended.stderr, last) == ("", "ended with 0")
    assert shown and "usage" in shown[0]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("replay nope.png", "'nope.png' does not exist"),
        ("chat --session README.md", "'README.md' is no session"),
        ("chat --image-file nope.png", "'nope.png' does not exist"),
        ("convert nope out --to hf", "checkpoint folder 'nope' does not exist"),
        ("storybook --save_path nope", "say with --request"),
        ("completion", "bash|zsh"),
    ],
)
def test_a_slip_is_told_before_a_large_library_is_loaded(line, told):
    ended = process("-c", MISTAKE, *line.split())
    assert ended.stdout.splitlines() == ["ended with 2"] and told in ended.stderr


def test_every_program_is_found():
    known = {"llmga.__main__", "llmga.download", "llmga.serve.cli-sdxl", "llmga.llava.train.doctor"}
    assert known <= set(PROGRAMS) and len(PROGRAMS) >= 27


def test_import_llmga_changes_nothing_and_loads_nothing():
    assert process("-c", CHANGES).stdout == "True\n"
