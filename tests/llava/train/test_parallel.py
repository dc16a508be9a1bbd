"""However a global batch is split and sharded, the losses are the same; the launchers start what they say."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmga.llava.train.train import train

ROOT = Path(__file__).resolve().parents[3]
PYTHON = Path(sys.executable).parent
# What each started pair of processes runs through: launcher's script, and the DeepSpeed settings.
WAYS = {
    "ddp": ("train_LLMGA_13b_S1.sh", "torchrun", None),
    "zero2": ("train_LLMGA_7b_S1.sh", "deepspeed", "scripts/zero2.json"),
    "zero3": ("scripts/stage1.sh", "torchrun", "scripts/zero3.json"),
    "zero3 offload": ("scripts/stage1.sh", "torchrun", "scripts/zero3_offload.json"),
}
SAME = {
    "steps": 20,
    "save_steps": 20,
    "precision": "fp32",
    "batch": 2,
    "logging_steps": 1,
    "report_to": (),
    "whole": True,
}


def launched(script: str, flags: list[str], **environment: str) -> subprocess.CompletedProcess:
    """A launch line as a person types it, on a CPU."""
    found = {"PATH": f"{PYTHON}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        ["bash", script, *flags], cwd=ROOT, env=os.environ | found | environment, capture_output=True, text=True
    )


def losses(history: list[Mapping[str, float]]) -> list[float]:
    return [entry["loss"] for entry in history if "loss" in entry]


def saved_losses(folder: Path) -> list[float]:
    return losses(json.loads((folder / "checkpoint-20/trainer_state.json").read_text())["log_history"])


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> list[float]:
    """Twenty losses of one process that takes the global batch of four in two passes."""
    trainer = train(settings(tmp_path_factory.mktemp("alone"), **SAME, accumulation=2))
    return losses(trainer.state.log_history)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_have_the_losses_of_one(way, settings, flags, alone, tmp_path):
    script, launcher, deepspeed = WAYS[way]
    config = settings(tmp_path, **SAME, global_batch=4, deepspeed=deepspeed)
    run = launched(script, flags(config), GPUS="2", LAUNCHER=launcher)
    assert run.returncode == 0, run.stderr[-3000:]
    found = saved_losses(tmp_path)
    assert len(found) == len(alone) == 20
    assert max(abs(a - b) for a, b in zip(found, alone, strict=True)) <= 1e-3
    assert (tmp_path / "model.safetensors").is_file()
    assert (tmp_path / "checkpoint-20" / "global_step20").is_dir() == (deepspeed is not None)


def test_one_process_needs_no_launcher(settings, flags, tmp_path):
    config = settings(tmp_path, **{**SAME, "steps": 1})
    run = launched("train_LLMGA_7b_S1.sh", flags(config), GPUS="1")
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / "config.json").is_file()


def test_a_mistake_is_told_once_before_processes_are_started(settings, flags, tmp_path):
    config = settings(tmp_path, **SAME, global_batch=6)
    run = launched("scripts/stage1.sh", flags(config), GPUS="2")
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1].startswith("error: --global-batch 6 cannot be divided by 2 samples")
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(None, "does not exist"), ("node1\n# node2 slots=8\n", "has no line such as 'node1 slots=8'")],
)
def test_a_wrong_hostfile_is_told_and_not_passed_over(text, sentence, tmp_path):
    if text is not None:
        (tmp_path / "hosts").write_text(text)
    run = launched("scripts/stage1.sh", ["--help"], GPUS="1", HOSTFILE=str(tmp_path / "hosts"))
    assert run.returncode == 2
    assert run.stderr.startswith(f"error: HOSTFILE '{tmp_path / 'hosts'}' {sentence}")


def test_an_unknown_launcher_is_told(settings, flags, tmp_path):
    run = launched("scripts/stage1.sh", ["--help"], GPUS="2", LAUNCHER="slurm")
    assert (run.returncode, run.stderr) == (2, "error: LAUNCHER is 'slurm', but must be torchrun or deepspeed.\n")
