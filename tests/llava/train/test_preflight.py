"""What would stop a run later is told in one sentence before anything is loaded."""

import json
import os
import re
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from llmga.errors import UserError
from llmga.llava.datasets.mixture import DataSource
from llmga.llava.train.examination import DoctorConfig, examine
from llmga.llava.train.preflight import main
from llmga.llava.train.readiness import ready
from llmga.llava.train.stage1 import train
from llmga.runtime import introduce_alone
from llmga.training.launch import Processes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def one_gpu(monkeypatch):
    """A machine that says it has one GPU, without being able to compute in bf16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: False)


def missing(monkeypatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)


def test_two_processes_cannot_share_a_gpu(settings, tmp_path, one_gpu):
    config = settings(tmp_path, device="auto", precision="fp32")
    with pytest.raises(
        UserError, match=r"2 processes were started on a machine with 1 GPU\(s\), which two cannot share"
    ):
        ready(config, Processes(world=2, here=2))
    assert ready(config, Processes()).attention == "sdpa"


def test_a_format_that_the_gpu_lacks(settings, tmp_path, one_gpu):
    with pytest.raises(UserError, match="an old GPU cannot compute in bf16"):
        ready(settings(tmp_path, device="auto"))


@pytest.fixture
def dino(tmp_path) -> str:
    """A tower of a kind that is not supported, without anything to read."""
    (tmp_path / "dino").mkdir()
    (tmp_path / "dino/config.json").write_text('{"model_type": "dinov2", "hidden_size": 32}')
    return str(tmp_path / "dino")


def test_another_kind_of_tower_is_told_before_the_data_is_read(dino, world, settings, flags, tmp_path, capsys):
    config = replace(settings(tmp_path / "out", vision_tower=dino), data=(DataSource("sg", "nowhere.json"),))
    for act in (ready, train):
        with pytest.raises(UserError, match="'dinov2', which cannot be used; give one of clip_vision_model, siglip"):
            act(config)
    assert main(flags(settings(tmp_path / "out", vision_tower=dino))) == 2
    assert capsys.readouterr().err.count("\n") == 1
    shutil.copytree(world / "mllm", tmp_path / "mllm")
    said = json.loads((tmp_path / "mllm/config.json").read_text())
    (tmp_path / "mllm/config.json").write_text(json.dumps(said | {"mm_vision_tower": dino}))
    whole = settings(tmp_path / "out", text_model=None, vision_tower=None, mllm=str(tmp_path / "mllm"))
    with pytest.raises(UserError, match="'dinov2', which cannot be used"):
        ready(whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"select_layer": 7}, "vision layer 7 is not one of the tower's; give -3 to 2"),
        ({"text_model": "tower"}, "a language model of type 'clip_vision_model' has no row"),
    ],
)
def test_parts_that_do_not_go_together_are_told(changes, message, world, settings, tmp_path):
    changes = {key: str(world / value) if key == "text_model" else value for key, value in changes.items()}
    with pytest.raises(UserError, match=message):
        ready(settings(tmp_path / "out", **changes))


@pytest.mark.parametrize(("count", "fraction", "fits"), [(1, 0.1, False), (1, 0.0, True), (2, 0.5, True)])
def test_a_fraction_to_measure_leaves_something_to_train_on(count, fraction, fits, settings, world, tmp_path):
    records = json.loads((world / "data/sg.json").read_text())[:count]
    (tmp_path / "sg.json").write_text(json.dumps(records))
    data = (DataSource("sg", str(tmp_path / "sg.json"), str(world / "data/images")),)
    config = settings(tmp_path / "out", data=data, eval_fraction=fraction, whole=True)
    told = "--eval-fraction 0.1 holds out 1 of 1 sample(s), which leaves nothing to train on"
    if fits:
        ready(config)
    else:
        with pytest.raises(UserError, match=re.escape(told)):
            ready(config)
    report = examine(DoctorConfig(**{one.name: getattr(config, one.name) for one in fields(config)}))
    assert (report.findings.of("stop"), told in report.text()) == ([] if fits else ["held-out"], not fits)


def test_half_precision_needs_a_gpu(settings, tmp_path):
    with pytest.raises(UserError, match="fp16 needs a CUDA GPU"):
        ready(settings(tmp_path, precision="fp16"))


@pytest.mark.parametrize(
    ("package", "changes"),
    [
        ("deepspeed", {"deepspeed": "scripts/zero3.json"}),
        ("peft", {"tune": "lora"}),
        ("wandb", {"report_to": ("wandb",)}),
    ],
)
def test_a_missing_package(package, changes, settings, tmp_path, monkeypatch):
    missing(monkeypatch, package)
    with pytest.raises(UserError, match=f'needs the package {package}, .* run pip install "llmga'):
        ready(settings(tmp_path, **changes))


def test_a_missing_log_is_missed_only_if_it_was_asked_for(settings, tmp_path, monkeypatch):
    missing(monkeypatch, "wandb")
    ready(settings(tmp_path))


@pytest.mark.parametrize(
    ("text", "sentence"), [(None, "does not exist"), ("{", "is not JSON"), ("[]", "must hold one JSON object")]
)
def test_a_broken_deepspeed_file(text, sentence, settings, tmp_path):
    file = tmp_path / "zero.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=sentence):
        ready(settings(tmp_path, deepspeed=str(file)))


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("zero_optimization", [2], "is \\[2\\], but must be an object"),
        ("zero_optimization.stage", 9, "'zero_optimization.stage' in .* is not what DeepSpeed knows"),
        ("zero_optimization.stage", "two", "'zero_optimization.stage' in .* is not what DeepSpeed knows"),
        ("zero_optimization.overlap_com", True, "'zero_optimization.overlap_com' in"),
        ("train_micro_batch_size_per_gpu", 7, 'is 7, but this run\'s is 4; write "auto" there'),
        ("gradient_accumulation_steps", 2, "is 2, but this run's is 1"),
        ("train_batch_size", 64, "is 64, but this run's is 4"),
        ("bf16.enabled", False, "is False, but this run's is True"),
        ("train_batch_size", 4, None),
        ("zero_optimization.stage", 3, None),
    ],
)
def test_what_deepspeed_would_stumble_over(place, value, sentence, settings, tmp_path):
    content = json.loads((ROOT / "scripts/zero2.json").read_text())
    block, _, key = place.rpartition(".")
    (content[block] if block else content)[key] = value
    (tmp_path / "zero.json").write_text(json.dumps(content))
    config = settings(tmp_path, deepspeed=str(tmp_path / "zero.json"))
    if sentence is None:
        ready(config)
    else:
        with pytest.raises(UserError, match=sentence):
            ready(config)


def test_quantised_weights_cannot_be_cut_into_pieces(settings, tmp_path):
    config = settings(tmp_path, tune="lora", bits=4, deepspeed="scripts/zero3.json")
    with pytest.raises(UserError, match="ZeRO-3 exclude each other"):
        ready(config)


def test_what_is_not_there_is_told_before_anything_is_loaded(world, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("llmga.llava.train.stage1.open_model", lambda *args: pytest.fail("the model was loaded"))
    good = DataSource("t2i", str(world / "data/t2i.json"))
    (tmp_path / "wrong.json").write_text('[{"ori_caption": "a", "caption": "b"}, {"caption": "b"}]')
    for changes, sentence in (
        ({"data": (good, DataSource("t2i", "gone.json"))}, "data file 'gone.json' does not exist"),
        ({"data": (replace(good, image_folder="gone"),)}, "picture folder 'gone' does not exist"),
        ({"data": (good, DataSource("t2i", str(tmp_path / "wrong.json")))}, "record 1 of .* has no 'ori_caption'"),
        ({"data": (replace(good, per_vqa=0.5),)}, "needs a source of kind vqa"),
        ({"mllm": "gone", "text_model": None, "vision_tower": None}, "checkpoint folder 'gone' does not exist"),
        ({"vision_tower": "gone"}, "checkpoint folder 'gone' does not exist"),
    ):
        with pytest.raises(UserError, match=sentence):
            train(settings(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_whole_weights_go_on_without_what_they_started_from(settings, tmp_path):
    """Of low-rank matrices the base is needed again."""
    for tune, needed in (("full", False), ("lora", True)):
        out = tmp_path / tune
        (out / "checkpoint-3").mkdir(parents=True)
        (out / "checkpoint-3/trainer_state.json").write_text("{}")
        config = replace(settings(out, tune=tune, **({} if needed else {"whole": True})), mllm="gone")
        if needed:
            with pytest.raises(UserError, match="'gone' does not exist"):
                ready(config)
        else:
            ready(config)


def test_accumulation_follows_from_the_global_batch(settings, tmp_path):
    config = settings(tmp_path, batch=2, global_batch=16)
    assert ready(config, Processes(world=4)).accumulation == 2
    with pytest.raises(UserError, match=r"--global-batch 16 cannot be divided by 2 samples on each of 3 process\(es\)"):
        ready(config, Processes(world=3))


def test_the_global_batch_is_known_afterwards(settings, tmp_path):
    assert ready(settings(tmp_path, batch=2, accumulation=3), Processes(world=4)).global_batch == 24


def test_flash_attention_needs_its_gpu(settings, tmp_path):
    with pytest.raises(UserError, match="flash_attention_2"):
        ready(settings(tmp_path, attention="flash_attention_2"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes(1, 1, 0)),
        ({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "RANK": "9", "LOCAL_RANK": "1"}, Processes(16, 8, 9)),
        ({"WORLD_SIZE": "2", "LOCAL_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, Processes(2, 2, 1)),
        ({"PROCESSES": "4", "NODES": "2"}, Processes(8, 4, 0)),
    ],
)
def test_processes_are_those_of_the_launcher(environment, expected, monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "PROCESSES", "NODES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Processes.launched() == expected


def test_a_single_process_introduces_itself_to_deepspeed(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "before")
    monkeypatch.delenv("RANK")
    introduce_alone()
    assert os.environ["WORLD_SIZE"] == "1"
    assert int(os.environ["MASTER_PORT"]) > 0


def test_the_command_line_looks_and_trains_nothing(settings, flags, tmp_path, capsys):
    assert main(flags(settings(tmp_path / "out"))) == 0
    assert capsys.readouterr().out == "ready to train: 6 steps of 4 samples\n"
    assert main(flags(settings(tmp_path / "out", steps=None, epochs=3, eval_fraction=0.25, save_steps=6))) == 0
    late = "no checkpoint before the last of 6 steps: --save-steps is 6\n"  # 6 of 8 samples in steps of 4
    assert capsys.readouterr().out == f"ready to train: 6 steps of 4 samples\n{late}"
    assert not (tmp_path / "out").exists()
    (tmp_path / "zero.json").write_text(json.dumps(3))
    assert main(flags(settings(tmp_path / "out", deepspeed=str(tmp_path / "zero.json")))) == 2
    assert capsys.readouterr().err.startswith("error: --deepspeed file")


@pytest.mark.parametrize(
    ("place", "changes", "sentence"),
    [
        ("/proc/none/out", {}, "error: cannot write to '/proc/none/out' (No such file or directory); choose another"),
        ("out", {"max_length": 10}, "error: this run cannot learn: "),
        ("out", {"checkpoint_dir": "/proc/none/run"}, "choose another --checkpoint-dir"),
    ],
)
def test_what_cannot_be_written_or_learnt_is_told_without_a_run(
    place, changes, sentence, settings, flags, tmp_path, capsys
):
    assert main(flags(settings(tmp_path / place, **changes))) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_dora_upon_8_bits_is_refused_on_a_cpu(settings, tmp_path):
    with pytest.raises(UserError, match="--tune dora with --bits 8 needs a CUDA GPU; give --tune lora or --bits 4"):
        ready(settings(tmp_path, tune="dora", bits=8))
    ready(settings(tmp_path, tune="dora", bits=4))
