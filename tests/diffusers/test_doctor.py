"""The doctor of stage 2 says what a step needs; `tests/evaluation/test_dry_run.py` holds it against a dry run."""

from dataclasses import replace

import pytest

from llmga.diffusers.published import PAINTERS, empty_painter
from llmga.diffusers.train.config import PRESETS
from llmga.diffusers.train.doctor import main
from llmga.diffusers.train.planning import plan, ways

TOY = PRESETS["toy_sdxl"]


def test_ways_are_the_same_step_in_ever_less_memory():
    found = dict(ways(replace(TOY, batch_size=4, cache_latents=False)))
    assert list(found)[:3] == [f"--batch-size {batch} --accumulation {4 // batch}" for batch in (4, 2, 1)]
    assert list(found)[-1] == "--batch-size 1 --accumulation 4 --tune lora"
    first, *_, last = found.values()
    assert last.memory < first.memory


def test_twice_the_pictures_are_twice_the_work():
    assert plan(replace(TOY, batch_size=8)).flops == 2 * plan(replace(TOY, batch_size=4)).flops


def test_recomputing_takes_time_and_saves_memory():
    spared, plain = (plan(replace(TOY, gradient_checkpointing=value, device="auto")) for value in (True, False))
    assert spared.flops > plain.flops and spared.tensors < plain.tensors


def test_it_prints_a_line_a_way(capsys):
    assert main(["--preset", "toy_sdxl_inpaint", "--batch-size", "2"]) == 0
    assert "TFLOP a step: --batch-size 1 --accumulation 2 --tune lora" in capsys.readouterr().out


@pytest.mark.parametrize("name", PAINTERS)
def test_a_published_pipeline_has_its_published_size(name):
    unet = empty_painter(name)["unet"]
    assert sum(weight.numel() for weight in unet.parameters()) == PAINTERS[name].parameters


def test_a_published_pipeline_is_planned_for_before_it_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--preset", "sd15", "--tune", "lora", "--batch-size", "1"]) == 0
    assert "TFLOP a step: --batch-size 1 --accumulation 1" in capsys.readouterr().out
    assert main(["--preset", "sd15", "--pipeline", "nowhere/another"]) == 2
