"""The loop that stage 2 and the restorer share, on a model of four numbers."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from llmga.errors import UserError
from llmga.training.checkpoints import checkpoints, require_same_settings
from llmga.training.loop import TrainingLoop, learning_rate
from llmga.training.skipped import SkippedImages
from llmga.training.stopping import SIGNALS


@dataclass(frozen=True)
class Config:
    run: str
    steps: int = 6
    schedule: str = "constant"
    warmup: int = 0
    ema_decay: float = 0.9
    checkpoint_every: int = 100
    keep: int = 2
    resume: str = "latest"
    lr: float = 0.1


class Numbers:
    """What is learnt from."""

    def __len__(self) -> int:
        return 4

    def digest(self) -> str:
        return "1 2 3 4"


class Loop(TrainingLoop):
    FREE = {"run", "checkpoint_every", "keep", "resume"}
    STEADY = "constant"
    EMA_FILE = "averaged.safetensors"
    dataset = Numbers()

    def __init__(self, config: Config, signal_in: dict[int, signal.Signals] | None = None):
        super().__init__(config, Accelerator(cpu=True))
        self.skipped, self.signal_in = SkippedImages(config.run), signal_in or {}
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        self._keep_averages(dict(model.named_parameters()))
        self.model, self.optimizer = self.accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=config.lr))
        self._resume()

    def _batches(self) -> Iterator[torch.Tensor]:
        while True:
            yield torch.randn(2, 4, generator=torch.Generator().manual_seed(self.step))

    def _optimise(self, batches: Iterator[torch.Tensor]) -> dict[str, float]:
        if self.step + 1 in self.signal_in:
            signal.raise_signal(self.signal_in[self.step + 1])
        loss = self.model(next(batches)).square().mean()
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.learning)
        return {"loss": loss.item()}


def learnt(loop: Loop) -> list[torch.Tensor]:
    loop.fit()
    return [*(parameter.detach().clone() for parameter in loop.learning), *loop.ema.shadow_params]


def steps(folder: Path) -> list[str]:
    return [path.name.removeprefix("checkpoint-") for path in checkpoints(folder)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_run_after_its_step_and_the_same_command_goes_on(number, tmp_path, capfd):
    before, config = signal.getsignal(number), Config(str(tmp_path / "cut"))
    with pytest.raises(KeyboardInterrupt) as stop:
        Loop(config, {3: number}).fit()
    last = tmp_path / "cut/checkpoint-3"
    assert str(stop.value) == f"stopped after step 3 of 6; the same command goes on from {str(last)!r}"
    assert "stopping after this step, with a checkpoint" in capfd.readouterr().err
    assert steps(tmp_path / "cut") == ["3"] and signal.getsignal(number) is before
    whole, cut = learnt(Loop(replace(config, run=str(tmp_path / "whole")))), learnt(Loop(config))
    assert all(torch.equal(one, other) for one, other in zip(whole, cut, strict=True))
    log = [json.loads(line)["step"] for line in (tmp_path / "cut/log.jsonl").read_text().splitlines()]
    assert log == [1, 2, 3, 4, 5, 6]


def test_a_signal_in_the_last_step_changes_nothing(tmp_path):
    Loop(Config(str(tmp_path)), {6: signal.SIGTERM}).fit()
    assert steps(tmp_path) == ["6"]


def test_the_newest_checkpoints_stay_and_nothing_unfinished(tmp_path):
    Loop(Config(str(tmp_path), checkpoint_every=1)).fit()
    assert steps(tmp_path) == ["5", "6"]
    assert not (tmp_path / "unfinished").exists()


def test_more_steps_go_on_where_the_schedule_is_steady_only(tmp_path, capsys):
    config = Config(str(tmp_path))
    Loop(config).fit()
    assert Loop(config).step == 6
    assert f"already finished: all 6 steps are in {tmp_path / 'checkpoint-6'}" in capsys.readouterr().out
    longer = Loop(replace(config, steps=8))
    assert longer.step == 6
    with pytest.raises(UserError, match="schedule 'constant' -> 'cosine', steps|steps 6 -> 8"):
        Loop(replace(config, steps=8, schedule="cosine"))
    with pytest.raises(UserError, match="further than --steps 4; give at least 6"):
        Loop(replace(config, steps=4))


def test_the_rate_rises_and_then_stays_decays_or_falls_to_nothing():
    config = Config("", steps=10, warmup=4)
    assert [learning_rate(config, step, 1.0, decay=0.5) for step in (0, 3, 4, 9)] == [0.25, 1, 0.5, 0.5]
    cosine = replace(config, schedule="cosine")
    assert [round(learning_rate(cosine, step, 1.0), 3) for step in (3, 4, 7, 9)] == [1, 1, 0.5, 0.067]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (1, 2, "data 1 -> 2"),
        (["a", "b"], ["c"], "--data differs: 2 sources before, 1 now"),
        (["a", "b"], ["a", "c"], "data 2: 'b' -> 'c'"),
        ([{"file": "a", "share": 1, "kind": "sg"}], [{"file": "b", "share": 2, "kind": "sg"}],
         "data 1: file 'a' -> 'b', share 1 -> 2"),
    ],
)  # fmt: skip
def test_what_differs_is_told_in_short(before, now, told, tmp_path):
    with pytest.raises(UserError) as problem:
        require_same_settings(tmp_path, {"data": before}, {"data": now}, lambda name: False, "--run")
    assert f"was made with other settings ({told}); give the same ones, or another --run" in str(problem.value)
