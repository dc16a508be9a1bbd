"""However a global batch is split and sharded, the losses are the same; the launchers start what they say."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from llmga.llava.train.stage1 import train

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


PDSH = """#!{python}
# What pdsh does over ssh, here: one line for a shell of a bare environment, %n the number of the node.
import os, re, subprocess, sys
line = " ".join(sys.argv[sys.argv.index("-w") + 2:])
line = re.sub("%(.)", lambda found: {{"%": "%", "n": "0"}}[found[1]], line)
line = line.replace(" -u -m deepspeed", " {folder}/node.py -u -m deepspeed", 1)
sys.exit(subprocess.run(["sh", "-c", line], env={{"PATH": os.environ["PATH"]}}).returncode)
"""
NODE = """import json, os, sys
json.dump([dict(os.environ), sys.argv], open("{folder}/seen.json", "w"))
"""
KEYS = {
    "HF_HOME": "/a folder/with 'quotes' and \"more\"",
    "HF_TOKEN": "hf_$(echo stolen)`date`",
    "WANDB_API_KEY": "0123 secret",
    "WANDB_NOTES": "first; second & 100%n of it\nnext line",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "3",
    "NCCL_SOCKET_IFNAME": "^lo,docker0",
    "UNRELATED": "stays here",
}


def test_the_nodes_of_a_hostfile_get_environment_and_flags_as_they_are_here(settings, flags, world, tmp_path):
    tools = {"pdsh": PDSH, "ssh": "#!/bin/sh\necho 127.0.0.1\n", "node.py": NODE}
    for name, text in tools.items():
        (tmp_path / name).write_text(text.format(python=sys.executable, folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "hosts").write_text("node1 slots=1\nnode2 slots=1\n")
    os.symlink(world / "data/images", tmp_path / "more images")
    both = replace(settings(tmp_path).data[0], image_folder=f"{world / 'data/images'};{tmp_path}/more images")
    config = settings(tmp_path / "out", **{**SAME, "data": (both,)}, device="cpu")
    run = launched("scripts/stage1.sh", flags(config), HOSTFILE=str(tmp_path / "hosts"), GPUS="1", **KEYS,
                   PATH=f"{tmp_path}:{PYTHON}:{os.environ['PATH']}")  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    environment, words = json.loads((tmp_path / "seen.json").read_text())
    wanted = {name: value for name, value in KEYS.items() if name != "UNRELATED"}
    assert {name: environment.get(name) for name in wanted} == wanted
    assert "UNRELATED" not in environment
    assert words[words.index("llmga.llava.train.train") + 1 :] == flags(config)
    assert not any(secret in run.stdout + run.stderr for secret in ("stolen", "0123 secret"))


def test_nodes_without_pdsh_are_told(tmp_path):
    (tmp_path / "hosts").write_text("node1 slots=1\nnode2 slots=1\n")
    (tmp_path / "ssh").write_text("#!/bin/sh\necho 127.0.0.1\n")
    (tmp_path / "ssh").chmod(0o755)
    run = launched("scripts/stage1.sh", ["--help"], HOSTFILE=str(tmp_path / "hosts"), GPUS="1",
                   PATH=f"{tmp_path}:{PYTHON}:/usr/bin:/bin")  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.strip().endswith("error: the nodes cannot be reached: launcher 'pdsh' not installed.")


def test_an_unknown_launcher_is_told(settings, flags, tmp_path):
    run = launched("scripts/stage1.sh", ["--help"], GPUS="2", LAUNCHER="slurm")
    assert (run.returncode, run.stderr) == (2, "error: LAUNCHER is 'slurm', but must be torchrun or deepspeed.\n")
