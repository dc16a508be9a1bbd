"""A run survives being killed at any moment and a disk that fills up, and goes on exactly where it was."""

import errno
import json
import multiprocessing
import os
import random
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llmga.errors import UserError
from llmga.llava.datasets.sources import DataSource
from llmga.llava.train import outlook, resuming
from llmga.llava.train.settings import Stage1Config
from llmga.llava.train.stage1 import train
from llmga.llava.train.trainer import Stage1Trainer
from llmga.training import checkpoints as folders
from llmga.training.checkpoints import checkpoints, full_disk_explained, newest_checkpoint, publish
from llmga.training.deepspeed import require_same_parts

FORK = multiprocessing.get_context("forkserver")  # children start from a process that has imported everything
FORK.set_forkserver_preload(["llmga.llava.train.stage1", "deepspeed", "peft", "torch.utils.tensorboard"])
STEPS = 24
RUNS = {
    "full": {},
    "lora": {"tune": "lora", "lora_rank": 4, "precision": "fp32", "eval_fraction": 0.25, "eval_steps": 3,
             "sample_steps": 4, "sample_count": 1, "sample_tokens": 2},
    "packed": {"pack": True, "batch": 2, "accumulation": 2},
}  # fmt: skip


def run(config: Stage1Config) -> None:
    """A run in a process of its own, without its progress bars."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    train(config)


def started(config: Stage1Config) -> multiprocessing.Process:
    process = FORK.Process(target=run, args=(config,))
    process.start()
    return process


def step_of(folder: Path) -> int:
    newest = newest_checkpoint(folder)
    return int(newest.name.split("-")[1]) if newest else 0


def kill_after(config: Stage1Config, step: int, chance: random.Random) -> int:
    """Start or go on, kill -9 about when `step` is saved, half of the times while it is.  Returns: the step reached."""
    process, folder = started(config), Path(config.output_dir)
    mark = [f"checkpoint-{step}", f"{folders.UNFINISHED}/checkpoint-{step}"][chance.random() < 0.5]
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
    assert not (tmp_path / "broken" / folders.UNFINISHED).exists()
    assert len(checkpoints(tmp_path / "broken")) == 2


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on this file of a checkpoint lies on a device that is always full."""
    begin = Stage1Trainer._begin

    def begun(self, run):
        begin(self, run)
        folder = run / folders.UNFINISHED / f"checkpoint-{self.state.global_step}"
        if self.state.global_step > 3:
            folder.mkdir()
            (folder / name).symlink_to("/dev/full")

    monkeypatch.setattr(Stage1Trainer, "_begin", begun)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "trainer_state.json", "config.json"])
def test_a_full_disk_leaves_the_last_checkpoint_and_one_sentence(name, settings, tmp_path, monkeypatch):
    config = settings(tmp_path / "out")
    with monkeypatch.context() as patched:
        full_disk(patched, name)
        with pytest.raises(UserError, match="could not be written.*goes on from '.*checkpoint-3'"):
            train(config)
    assert [path.name for path in checkpoints(tmp_path / "out")] == ["checkpoint-3"]
    assert not (tmp_path / "out" / folders.UNFINISHED).exists()
    assert train(config).state.global_step == 6


def test_too_little_room_is_told_before_anything_is_written(settings, tmp_path, monkeypatch):
    usage = folders.shutil.disk_usage(tmp_path)
    full = lambda path: usage._replace(free=10 if step_of(tmp_path / "out") else usage.free)  # noqa: E731
    monkeypatch.setattr(folders.shutil, "disk_usage", full)
    with pytest.raises(UserError, match="a checkpoint takes 0.0 GiB"):
        train(settings(tmp_path / "out"))
    assert step_of(tmp_path / "out") == 3


def test_a_disk_too_small_for_the_first_checkpoint_is_told_before_the_first_step(settings, tmp_path, monkeypatch):
    usage = folders.shutil.disk_usage(tmp_path)._replace(free=10)
    with monkeypatch.context() as patched:
        patched.setattr(folders.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(UserError, match="a checkpoint and the model take 0.0 GiB, but 0.0 GiB are free"):
            train(settings(tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*/trainer_state.json"))


@pytest.mark.parametrize("pages", [2, 4])
def test_room_that_old_checkpoints_of_a_run_take_counts_as_free(pages, tmp_path, monkeypatch, settings):
    (fake(tmp_path / "checkpoint-3") / "optimizer.pt").write_bytes(bytes(pages * 500_000))
    usage = folders.shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage)
    space = outlook.disk(settings(tmp_path), 64_000, 64_000)
    assert space.free == pages * 500_000 + 2
    assert space.first == pytest.approx(1.05 * 64_000 * (4 + 8 + 4))
    assert space.enough == (pages == 4)


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), full_disk_explained(tmp_path, "--run"):
        raise RuntimeError("shapes differ")
    with pytest.raises(UserError, match="No space left on device"), full_disk_explained(tmp_path, "--run"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fake(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / resuming.STATE).write_text("{}")
    return folder


def test_the_new_checkpoint_is_there_before_an_old_one_goes(tmp_path, monkeypatch):
    for step in (9, 10):
        fake(tmp_path / f"checkpoint-{step}")
    seen, remove = [], folders.shutil.rmtree
    monkeypatch.setattr(
        folders.shutil,
        "rmtree",
        lambda path, **options: (seen.append((path.name, step_of(tmp_path))), remove(path, **options)),
    )
    publish(fake(tmp_path / "unfinished/checkpoint-11"), tmp_path / "checkpoint-11", keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-11"]
    assert ("checkpoint-9", 11) in seen
    assert not (tmp_path / "unfinished").exists()


def test_folders_of_other_names_are_nobodys_business(tmp_path):
    for name in ("checkpoint-2", "checkpoint-10", "checkpoint-best", "checkpoint-3-old"):
        fake(tmp_path / name)
    (tmp_path / "checkpoint-11").mkdir()
    assert newest_checkpoint(tmp_path).name == "checkpoint-10"


@pytest.mark.parametrize(
    ("changes", "told"), [({"seed": 7}, "seed 42 -> 7"), ({"pack": True}, "pack False -> True"),
                          ({"batch": 2, "accumulation": 2}, None),
                          ({"deepspeed": "scripts/zero2.json"}, "made without DeepSpeed, but this run is with ZeRO-1")]
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


def test_a_run_that_knew_no_splitting_goes_on_as_it_began(settings, tmp_path):
    """Its checkpoints say nothing of `long`, of `map` and of the names of a source's keys."""
    config = settings(tmp_path / "out")
    before = json.loads(json.dumps(asdict(config)))
    for source in before["data"]:
        del source["columns"]
    told = {name: value for name, value in before.items() if name not in ("long", "map")}
    (tmp_path / "training_config.json").write_text(json.dumps({"settings": told}))
    resuming.require_same_course(tmp_path, replace(config, long="cut"))
    with pytest.raises(UserError, match="made with other settings .*long 'cut' -> 'split'"):
        resuming.require_same_course(tmp_path, config)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


HARM = {
    "model.safetensors": cut,
    "optimizer.pt": cut,
    "rng_state.pth": lambda file: os.truncate(file, 0),
    "scheduler.pt": Path.unlink,
    "trainer_state.json": cut,
    "training_config.json": cut,
    "config.json": lambda file: file.write_bytes(bytes(64)),
}


@pytest.mark.parametrize("name", HARM)
def test_a_damaged_checkpoint_names_what_to_remove_and_the_one_before_is_taken_then(name, settings, tmp_path):
    config = settings(tmp_path / "out", steps=2, save_steps=1, save_total_limit=2)
    train(config)
    last = tmp_path / "out/checkpoint-2"
    HARM[name](last / name)
    told = rf"checkpoint '{last}' is not whole \({name} is .*\); remove this folder, .* goes on from '.*checkpoint-1'"
    again = settings(tmp_path / "out", steps=3, save_steps=1, save_total_limit=2)
    with pytest.raises(UserError, match=told):
        train(again)
    assert last.is_dir()
    shutil.rmtree(last)
    assert train(again).state.global_step == 3


def test_the_only_checkpoint_damaged_means_to_start_anew(settings, tmp_path):
    train(settings(tmp_path / "out", tune="lora", lora_rank=2, steps=1, save_steps=1))
    cut(tmp_path / "out/checkpoint-1/non_lora_trainables.bin")
    with pytest.raises(UserError, match="non_lora_trainables.bin is damaged: .*starts anew, since no other is there"):
        train(settings(tmp_path / "out", tune="lora", lora_rank=2, steps=2, save_steps=1))


OTHER = {
    "a word in the middle": (
        lambda rows: rows[2].update(caption="a blue square on black"),
        "other ones of its 4 records",
    ),
    "another order": (lambda rows: rows.reverse(), "other ones of its 4 records"),
    "one more": (lambda rows: rows.append(rows[0]), "4 -> 5 records"),
    "another id": (lambda rows: rows[0].update(id=7), None),
}


@pytest.mark.parametrize("change", OTHER)
def test_a_run_goes_on_only_with_the_records_it_began_with(change, settings, world, tmp_path):
    spoil, told = OTHER[change]
    rows = json.loads((world / "data/sg.json").read_text())
    file = tmp_path / "sg.json"
    file.write_text(json.dumps(rows))
    data = (DataSource("sg", str(file), str(world / "data/images")),)
    train(settings(tmp_path / "out", data=data, steps=1, save_steps=1))
    spoil(rows)
    file.write_text(json.dumps(rows))
    again = settings(tmp_path / "out", data=data, steps=2, save_steps=1)
    if told is None:
        assert train(again).state.global_step == 2
    else:
        with pytest.raises(UserError, match=f"made with other data .*sg.json': {told}"):
            train(again)


def test_rates_decay_and_intervals_of_a_run_that_goes_on_are_those_now_given(settings, tmp_path):
    steady = {"scheduler": "constant_with_warmup", "save_total_limit": 9}
    train(settings(tmp_path / "out", steps=3, save_steps=3, logging_steps=3, **steady))
    changed = {"lr": 1e-4, "projector_lr": 3e-4, "weight_decay": 0.1}
    trainer = train(settings(tmp_path / "out", steps=8, save_steps=2, logging_steps=1, **steady, **changed))
    assert [path.name[11:] for path in checkpoints(tmp_path / "out")] == ["3", "4", "6", "8"]
    later = [entry for entry in trainer.state.log_history if entry["step"] > 3 and "loss" in entry]
    assert [entry["learning_rate"] for entry in later] == [1e-4] * 5
    groups = {(group["lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups}
    assert groups == {(1e-4, 0.1), (1e-4, 0.0), (3e-4, 0.1), (3e-4, 0.0)}


def test_low_rank_matrices_go_on_beside_their_own_base_only(world, settings, tmp_path):
    low = {"tune": "lora", "lora_rank": 2, "save_steps": 1}
    train(settings(tmp_path / "out", steps=1, **low))
    shutil.copytree(world / "mllm", tmp_path / "other")
    with pytest.raises(UserError, match="mllm '.*mllm' -> '.*other'"):
        train(settings(tmp_path / "out", steps=2, mllm=str(tmp_path / "other"), **low))


@pytest.mark.parametrize(
    ("files", "stage", "processes", "told"),
    [
        (["mp_rank_00_model_states.pt", "zero_pp_rank_{}_mp_rank_00_optim_states.pt"], 2, 2, None),
        (["mp_rank_00_model_states.pt", "bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt"], 1, 2, None),
        (["mp_rank_00_model_states.pt", "zero_pp_rank_{}_mp_rank_00_optim_states.pt"], 2, 4, "on 4 process"),
        (["mp_rank_00_model_states.pt", "zero_pp_rank_{}_mp_rank_00_optim_states.pt"], 3, 2, "is with ZeRO-3 on 2"),
        (["zero_pp_rank_{}_mp_rank_00_model_states.pt", "zero_pp_rank_{}_mp_rank_00_optim_states.pt"], 3, 2, None),
        (["mp_rank_00_model_states.pt", "zero_pp_rank_{}_mp_rank_00_optim_states.pt"], None, 2, "without DeepSpeed"),
        (["mp_rank_00_model_states.pt"], 0, 4, None),
    ],
)
def test_what_deepspeed_cut_into_parts_is_put_together_by_as_many(files, stage, processes, told, tmp_path):
    folder = fake(tmp_path / "global_step3")
    for name in files:
        for rank in range(2):
            (folder / name.format(rank)).touch()
    if told is None:
        require_same_parts(tmp_path, stage, processes)
    else:
        with pytest.raises(UserError, match=f"but this run .*{told}"):
            require_same_parts(tmp_path, stage, processes)
