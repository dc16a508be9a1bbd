"""A run survives being killed at any moment and a disk that fills up, and goes on exactly where it was."""

import errno
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llmga.errors import UserError
from llmga.llava.train import checkpointing
from llmga.llava.train.checkpointing import checkpoints, newest_checkpoint, publish
from llmga.llava.train.settings import TrainConfig
from llmga.llava.train.train import train
from llmga.llava.train.trainer import StageOneTrainer

FORK = multiprocessing.get_context("forkserver")  # children start from a process that has imported everything
FORK.set_forkserver_preload(["llmga.llava.train.train", "deepspeed", "peft", "torch.utils.tensorboard"])
STEPS = 24
RUNS = {
    "full": {},
    "lora": {"tune": "lora", "lora_rank": 4, "precision": "fp32", "eval_fraction": 0.25, "eval_steps": 3,
             "sample_steps": 4, "sample_count": 1, "sample_tokens": 2},
    "packed": {"pack": True, "batch": 2, "accumulation": 2},
}  # fmt: skip


def run(config: TrainConfig) -> None:
    """A run in a process of its own, without its progress bars."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    train(config)


def started(config: TrainConfig) -> multiprocessing.Process:
    process = FORK.Process(target=run, args=(config,))
    process.start()
    return process


def step_of(folder: Path) -> int:
    newest = newest_checkpoint(folder)
    return int(newest.name.split("-")[1]) if newest else 0


def kill_after(config: TrainConfig, step: int, chance: random.Random) -> int:
    """Start or go on, kill -9 about when `step` is saved, half of the times while it is.  Returns: the step reached."""
    process, folder = started(config), Path(config.output_dir)
    mark = [f"checkpoint-{step}", f"{checkpointing.UNFINISHED}/checkpoint-{step}"][chance.random() < 0.5]
    while process.is_alive() and not (folder / mark).exists() and step_of(folder) < step:
        time.sleep(0.001)
    time.sleep(chance.random() * 0.03)
    process.kill()
    process.join()
    return step_of(folder)


def learned(folder: Path) -> dict[str, torch.Tensor]:
    found = [load_file(file) for file in folder.glob("*.safetensors")]
    found += [torch.load(file, weights_only=True) for file in folder.glob("non_lora_trainables.bin")]
    return {name: tensor for part in found for name, tensor in part.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_killed_ten_times_a_run_ends_with_the_weights_of_an_unbroken_one(kind, settings, tmp_path):
    often = {"steps": STEPS, "save_steps": 1, "save_total_limit": 2, **RUNS[kind]}
    whole = started(settings(tmp_path / "whole", **often))
    broken, chance = settings(tmp_path / "broken", **often), random.Random(kind)
    step = 0
    for _ in range(10):
        step = kill_after(broken, min(step + chance.choice((1, 1, 2)), STEPS - 1), chance)
    assert step > 2  # several lives were long enough to save
    for process in (whole, started(broken)):
        process.join()
        assert process.exitcode == 0
    expected, found = learned(tmp_path / "whole"), learned(tmp_path / "broken")
    assert expected.keys() == found.keys()
    assert max(float((expected[name] - found[name]).abs().max()) for name in expected) <= 1e-7
    assert not (tmp_path / "broken" / checkpointing.UNFINISHED).exists()
    assert len(checkpoints(tmp_path / "broken")) == 2


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on this file of a checkpoint lies on a device that is always full."""
    begin = StageOneTrainer._begin

    def begun(self, run):
        begin(self, run)
        folder = run / checkpointing.UNFINISHED / f"checkpoint-{self.state.global_step}"
        if self.state.global_step > 3:
            folder.mkdir()
            (folder / name).symlink_to("/dev/full")

    monkeypatch.setattr(StageOneTrainer, "_begin", begun)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "trainer_state.json", "config.json"])
def test_a_full_disk_leaves_the_last_checkpoint_and_one_sentence(name, settings, tmp_path, monkeypatch):
    config = settings(tmp_path / "out")
    with monkeypatch.context() as patched:
        full_disk(patched, name)
        with pytest.raises(UserError, match="could not be written.*goes on from '.*checkpoint-3'"):
            train(config)
    assert [path.name for path in checkpoints(tmp_path / "out")] == ["checkpoint-3"]
    assert not (tmp_path / "out" / checkpointing.UNFINISHED).exists()
    assert train(config).state.global_step == 6


def test_too_little_room_is_told_before_anything_is_written(settings, tmp_path, monkeypatch):
    usage = checkpointing.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(checkpointing.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="a checkpoint takes 0.0 GiB"):
        train(settings(tmp_path / "out"))
    assert step_of(tmp_path / "out") == 3


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), checkpointing.told_if_full(tmp_path):
        raise RuntimeError("shapes differ")
    with pytest.raises(UserError, match="No space left on device"), checkpointing.told_if_full(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fake(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / checkpointing.STATE).write_text("{}")
    return folder


def test_the_new_checkpoint_is_there_before_an_old_one_goes(tmp_path, monkeypatch):
    for step in (9, 10):
        fake(tmp_path / f"checkpoint-{step}")
    seen, remove = [], checkpointing.shutil.rmtree
    monkeypatch.setattr(
        checkpointing.shutil,
        "rmtree",
        lambda path, **options: (seen.append((path.name, step_of(tmp_path))), remove(path, **options)),
    )
    publish(fake(tmp_path / "unfinished/checkpoint-11"), tmp_path / "checkpoint-11", keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-11"]
    assert ("checkpoint-9", 11) in seen


def test_folders_of_other_names_are_nobodys_business(tmp_path):
    for name in ("checkpoint-2", "checkpoint-10", "checkpoint-best", "checkpoint-3-old"):
        fake(tmp_path / name)
    (tmp_path / "checkpoint-11").mkdir()
    assert newest_checkpoint(tmp_path).name == "checkpoint-10"


@pytest.mark.parametrize(
    ("changes", "told"), [({"seed": 7}, "seed 42 -> 7"), ({"pack": True}, "pack False -> True"), ({"lr": 1e-4}, None),
                          ({"batch": 2, "accumulation": 2}, None)]
)  # fmt: skip
def test_a_run_goes_on_only_with_settings_that_keep_its_course(changes, told, settings, tmp_path):
    first = settings(tmp_path / "out", steps=2, save_steps=2)
    train(first)
    again = settings(tmp_path / "out", **{"steps": 3, "save_steps": 2, **changes})
    if told is None:
        assert train(again).state.global_step == 3
    else:
        with pytest.raises(UserError, match=told):
            train(again)
