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
    (tmp_path / "other").mkdir()
    return tmp_path / "ours"


@pytest.mark.parametrize("name", ["setup", "demo", "toyworld", "world_language"])
def test_help_shows_the_usage_and_does_nothing(checkout, name):
    for word in ("-h", "--help"):
        run = ran(checkout / f"scripts/{name}.sh", word)
        assert (run.returncode, run.stderr) == (0, "")
        assert f"bash scripts/{name}.sh" in run.stdout
    assert [path.name for path in checkout.iterdir()] == ["scripts"]


@pytest.mark.parametrize("name", ["setup", "toyworld", "world_language"])
def test_a_script_without_words_refuses_some(checkout, name):
    run = ran(checkout / f"scripts/{name}.sh", "all")
    assert (run.returncode, run.stderr) == (2, f"error: scripts/{name}.sh takes no words, but got 'all'.\n")


def venv_of(place: Path, owner: Path) -> None:
    """A venv, without a Python, in which the package of a checkout was installed to be edited there."""
    installed = place / "lib/python3.11/site-packages/llmga-0.2.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "direct_url.json").write_text(f'{{"dir_info": {{"editable": true}}, "url": "file://{owner}"}}')


@pytest.mark.parametrize("linked", [True, False])
def test_setup_leaves_the_venv_of_another_checkout_alone(checkout, linked):
    other, ours = checkout.parent / "other", checkout / ".venv"
    venv_of(other / ".venv" if linked else ours, other)
    if linked:
        ours.symlink_to(other / ".venv")
    run = ran(checkout / "scripts/setup.sh", LLMGA_PYTHON="none")
    assert run.returncode == 2
    assert f"error: .venv belongs to the checkout {other}; take it away" in run.stderr


@pytest.mark.parametrize("owner", ["ours", "moved away"])
@pytest.mark.parametrize("linked", [True, False])
def test_setup_takes_its_own_venv(checkout, owner, linked):
    """Up to the Python, of which there is none here."""
    venv_of(checkout.parent / "large disk" if linked else checkout / ".venv", checkout.parent / owner)
    if linked:
        (checkout / ".venv").symlink_to(checkout.parent / "large disk")
    run = ran(checkout / "scripts/setup.sh", LLMGA_PYTHON="none")
    assert run.returncode == 2
    assert "error: no Python 3.11 or newer was found (tried none); install one and run this again." in run.stderr
