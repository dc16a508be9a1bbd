"""Shell scripts answer a mistake in one sentence and 2, show their usage, and leave the venv of others alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
LAUNCHERS = ["train_LLMGA_7b_S1.sh", "train_LLMGA_SDXL_S2.sh", "scripts/train_diffrir.sh"]


def ran(script: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    found = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", script, *words], env=os.environ | found | environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_number_of_gpus_that_is_none_is_told(launcher):
    run = ran(ROOT / launcher, "--help", GPUS="two")
    assert run.returncode == 2
    assert run.stderr == "error: GPUS is 'two', but must be a whole number: how many GPUs to train on.\n"


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"NODES": "a"}, "NODES is 'a', but must be a whole number: how many machines train together."),
        ({"NODES": "2"}, "NODE_RANK is '', but must be a whole number: which of the 2 machines this is, from 0 to 1."),
        ({"NODES": "2", "NODE_RANK": "2"}, "NODE_RANK is 2, but the 2 machines are 0 to 1."),
        ({"NODES": "2", "NODE_RANK": "1"}, "MASTER_ADDR is missing: give the name or address of machine 0."),
        ({"HOSTFILE": "no"}, "HOSTFILE 'no' does not exist; docs/train/stage1.md says what it holds."),
    ],
)
def test_machines_that_are_not_said_in_full_are_told(environment, sentence):
    run = ran(SCRIPTS / "stage1.sh", "--help", GPUS="1", **environment)
    assert (run.returncode, run.stderr) == (2, f"error: {sentence}\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts alone, so that nothing can be installed, beside another checkout with a venv."""
    (tmp_path / "ours").mkdir()
    shutil.copytree(SCRIPTS, tmp_path / "ours/scripts")
    (tmp_path / "other/.venv").mkdir(parents=True)
    return tmp_path / "ours"


@pytest.mark.parametrize("name", ["setup", "demo", "toyworld"])
def test_help_shows_the_usage_and_does_nothing(checkout, name):
    for word in ("-h", "--help"):
        run = ran(checkout / f"scripts/{name}.sh", word)
        assert (run.returncode, run.stderr) == (0, "")
        assert f"bash scripts/{name}.sh" in run.stdout
    assert [path.name for path in checkout.iterdir()] == ["scripts"]


@pytest.mark.parametrize("name", ["setup", "toyworld"])
def test_a_script_without_words_refuses_some(checkout, name):
    run = ran(checkout / f"scripts/{name}.sh", "all")
    assert (run.returncode, run.stderr) == (2, f"error: scripts/{name}.sh takes no words, but got 'all'.\n")


def venv_of(checkout: Path, owner: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv/pyvenv.cfg").write_text(f"home = /usr\ncommand = /usr/bin/python3 -m venv --clear {owner}\n")


def test_setup_leaves_the_venv_of_another_checkout_alone(checkout):
    other = checkout.parent / "other/.venv"
    (checkout / ".venv").symlink_to(other)
    run = ran(checkout / "scripts/setup.sh")
    assert run.returncode == 2
    assert (
        f"error: .venv is a link to {other}, which is not changed from here; remove the link (rm .venv)" in run.stderr
    )
    (checkout / ".venv").unlink()
    venv_of(checkout, other)
    run = ran(checkout / "scripts/setup.sh")
    assert run.returncode == 2
    assert f"error: .venv is a copy of {other} and still names it; remove it (rm -r .venv)" in run.stderr
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("owner", ["ours/.venv", "moved away/.venv"])
def test_setup_takes_its_own_venv(checkout, owner):
    """Up to the Python, of which there is none here."""
    venv_of(checkout, checkout.parent / owner)
    run = ran(checkout / "scripts/setup.sh", LLMGA_PYTHON="none")
    assert run.returncode == 2
    assert "error: no Python 3.11 or newer was found (tried none); install one and run this again." in run.stderr
