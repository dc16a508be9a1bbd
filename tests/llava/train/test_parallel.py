"""However a global batch is split and sharded, the losses are the same; the launchers start what they say."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
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


def launched(script: str, flags: list[str], folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """A launch line as a person types it, on a CPU."""
    found = {"PATH": f"{PYTHON}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        ["bash", script, *flags], cwd=folder, env=os.environ | found | environment, capture_output=True, text=True
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


OTHERWISE_SEEN = ("ddp", "zero3")  # by the next test, and with offloading


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.long) if way in OTHERWISE_SEEN else way for way in WAYS]
)
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


SHARDED = """
import json, sys
import deepspeed, deepspeed.ops, torch
from transformers import CLIPVisionConfig, LlamaConfig
from llmga.llava import loss
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.published import make_config
from llmga.llava.train.arguments import COMPILED_FOR_NOTHING

ZERO = {"stage": 3, "stage3_param_persistence_threshold": 0}
SETTINGS = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": ZERO, "zero_allow_untested_optimizer": True}
sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
text, tower = LlamaConfig(vocab_size=99, **sizes), CLIPVisionConfig(image_size=28, patch_size=14, **sizes)
deepspeed.ops.__compatible_ops__[COMPILED_FOR_NOTHING] = False
deepspeed.init_distributed("gloo")
rank, found = torch.distributed.get_rank(), []
for at_once in (99 * 8, 2**27):
    loss.LOGITS_AT_ONCE = at_once
    torch.manual_seed(0)
    model = LlmgaForConditionalGeneration(make_config(text, tower, projector_type="mlp2x_gelu", select_layer=-2))
    model.model.vision_tower.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(False)
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.SGD(learning, lr=0.5), config=SETTINGS)
    for step in range(3):
        ids = torch.arange(9 + 40 * rank + step).remainder(99)[None]  # 2 chunks here, 7 there
        value = engine(input_ids=ids, labels=ids, use_cache=False).loss
        engine.backward(value)
        engine.step()
        found.append(value.item())
if rank == 1:
    json.dump(found, open(sys.argv[1], "w"))
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs DeepSpeed")
def test_processes_whose_losses_take_unlike_many_chunks_learn_alike(tmp_path):
    (tmp_path / "sharded.py").write_text(SHARDED)
    run = launched(
        "-c", [f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2 sharded.py losses.json"],
        folder=tmp_path, DS_ACCELERATOR="cpu",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads((tmp_path / "losses.json").read_text())
    assert found[:3] == pytest.approx(found[3:], rel=1e-5)
    assert found[2] < found[0]
