"""Who ends a run by Ctrl-C or SIGTERM loses nothing, and is told how it goes on."""

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llmga.errors import UserError
from llmga.llava.datasets import mixture
from llmga.llava.datasets.mixture import DataSource
from llmga.llava.train.stage1 import train
from llmga.llava.train.train import main
from llmga.llava.train.trainer import Stage1Trainer
from llmga.training import stopping
from llmga.training.checkpoints import checkpoints


def in_step(monkeypatch: pytest.MonkeyPatch, step: int, act) -> None:
    """`act()` once, in the middle of this step, counted from 1."""
    learn, acts = Stage1Trainer.training_step, [act]

    def learnt(self, *args, **kwargs):
        loss = learn(self, *args, **kwargs)
        if self.state.global_step == step - 1 and acts:
            acts.pop()()
        return loss

    monkeypatch.setattr(Stage1Trainer, "training_step", learnt)


def saved(folder: Path) -> list[str]:
    return [path.name for path in checkpoints(folder)]


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_ends_the_run_after_its_step_and_the_same_command_goes_on(
    number, settings, flags, tmp_path, monkeypatch, capfd
):
    argv, before = flags(settings(tmp_path / "out", save_steps=100, accumulation=2)), signal.getsignal(number)
    with monkeypatch.context() as patched:
        in_step(patched, 2, lambda: signal.raise_signal(number))
        assert main(argv) == 130
    assert saved(tmp_path / "out") == ["checkpoint-2"]
    assert not (tmp_path / "out/config.json").exists()
    told = capfd.readouterr().err
    assert "stopping after this step, with a checkpoint" in told
    ending = f"stopped after step 2 of 6; the same command goes on from '{tmp_path / 'out/checkpoint-2'}'"
    assert told.strip().splitlines()[-1] == ending
    assert signal.getsignal(number) is before
    assert main(argv) == 0
    train(settings(tmp_path / "whole", save_steps=100, accumulation=2))
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "out"))
    assert all(torch.allclose(found[name], expected[name], atol=1e-7) for name in expected)


def test_a_second_signal_ends_it_at_once_but_an_echo_does_not(settings, flags, tmp_path, monkeypatch, capfd):
    argv = flags(settings(tmp_path / "out", save_steps=1))
    in_step(monkeypatch, 3, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with monkeypatch.context() as patched:
        patched.setattr(stopping, "PATIENCE", -1.0)
        assert main(argv) == 130
    assert saved(tmp_path / "out") == ["checkpoint-2"]
    assert capfd.readouterr().err.strip().splitlines()[-1].startswith("stopped at once; the same command goes on from")
    in_step(monkeypatch, 3, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    assert main(argv) == 130
    assert saved(tmp_path / "out") == ["checkpoint-3"]


def test_a_signal_in_the_last_step_changes_nothing(settings, flags, tmp_path, monkeypatch):
    in_step(monkeypatch, 6, lambda: signal.raise_signal(signal.SIGTERM))
    assert main(flags(settings(tmp_path / "out"))) == 0
    assert (tmp_path / "out/config.json").is_file()


def test_weights_that_are_no_numbers_replace_no_checkpoint(settings, tmp_path, monkeypatch):
    """The loss is logged too seldom for the watch over it."""
    measure = Stage1Trainer.compute_loss

    def measured(self, *args, **kwargs):
        loss = measure(self, *args, **kwargs)
        return loss * float("nan") if self.state.global_step == 2 else loss

    monkeypatch.setattr(Stage1Trainer, "compute_loss", measured)
    with pytest.raises(UserError, match="no number, so the weights are ruined"):
        train(settings(tmp_path / "out", save_steps=2, logging_steps=100, steps=12))
    assert saved(tmp_path / "out") == ["checkpoint-2"]


def test_a_mistake_in_a_loaders_process_is_one_sentence(world, settings, flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mixture, "ATTEMPTS", 3)
    lost = [{"image": f"gone{number}.png", "caption": f"a thing {number}"} for number in range(12)]
    (tmp_path / "lost.json").write_text(json.dumps(lost))
    data = (
        DataSource("t2i", str(world / "data/t2i.json")),
        DataSource("sg", str(tmp_path / "lost.json"), str(world / "data/images")),
    )
    assert main(flags(settings(tmp_path / "out", data=data, workers=1))) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert told.strip().splitlines()[-1].startswith("error: not one of 3 samples in a row can be used")
