"""The fake GPU finds what it is for, and presets run on it; in processes of their own, see `on_fake_gpu`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmga.evaluation import dry_run_page
from llmga.evaluation.dry_run import main as command
from llmga.evaluation.dry_run import presets
from llmga.evaluation.dry_run_page import DEVICES, need, page, seconds, told

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/performance.md"
PAINTER = ROOT / "checkpoints/Inference/llmga-toy-sdxl-t2i"
PROGRAM = Path(__file__).with_name("on_fake_gpu.py")
FAST = ("toy_sdxl", "toy-x1-s2-joint")
MISTAKES = ("mask_on_the_cpu", "double_precision", "forgotten_move", "single_precision", "generator_of_the_cpu",
            "read_in_a_loop")  # fmt: skip
PLACED = ("nothing_wrong", "on_two_devices", "spread", "mapped", "offloaded", "offloaded_by_layer",
          "inpainted_with_a_vae_in_single_precision", "restored_in_bfloat16")  # fmt: skip
FRONT_ENDS = ("served", "on_the_page")  # these take a minute


def ran(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def dry_run(tmp_path: Path, *words: str) -> list[dict]:
    ran("llmga.evaluation.dry_run", *words, "--json", str(tmp_path / "records.jsonl"))
    return [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def found() -> dict:
    return json.loads(ran("tests.evaluation.on_fake_gpu", *MISTAKES, *PLACED).splitlines()[-1])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(mistake, found):
    lines = PROGRAM.read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if line.endswith(f"# MISTAKE {mistake}"))
    assert f"tests/evaluation/on_fake_gpu.py:{number}" in json.dumps(found[mistake])


def test_a_right_program_has_no_complaint(found):
    assert found["nothing_wrong"] == []


def test_a_planner_and_a_painter_on_two_devices_answer_together(found):
    assert found["on_two_devices"][1] == ["fakegpu:0", "fakegpu:1"]


@pytest.mark.parametrize("way", ["spread", "mapped"])
def test_a_language_model_over_two_devices_answers(way, found):
    assert found[way] == ["fakegpu:0", "fakegpu:1"]


@pytest.mark.long
def test_the_server_answers_from_its_threads_and_the_page_paints_and_paints_again():
    found = json.loads(ran("tests.evaluation.on_fake_gpu", *FRONT_ENDS).splitlines()[-1])
    assert found["served"] == [200, 200, ["float16"]]
    assert found["on_the_page"] == [2, ["float16"]]


def test_an_offloaded_pipeline_waits_off_the_device(found):
    assert found["offloaded"] == [0, [64, 64]]


def test_a_pipeline_that_is_offloaded_by_layers_is_never_whole_on_the_device(found):
    before, size, peak = found["offloaded_by_layer"]
    weights = sum(path.stat().st_size for path in PAINTER.rglob("*.safetensors"))
    assert (size, before < 0.01 * weights, peak < 0.5 * weights) == ([64, 64], True, True)


def test_a_vae_in_single_precision_works_beside_a_half_precision_unet(found):
    assert found["inpainted_with_a_vae_in_single_precision"] == [[64, 64], ["float16", "float32"]]


def test_a_restorer_in_bfloat16_computes_nothing_else(found):
    assert found["restored_in_bfloat16"] == [[64, 64], ["bfloat16"], []]


def test_two_presets_pass(tmp_path):
    records = dry_run(tmp_path, "--preset", *FAST)
    assert {(one["preset"], one["part"]) for one in records} == {(n, p) for n in FAST for p in ("step", "generation")}
    assert not any(one["wrong"] for one in records)
    steps = [one for one in records if one["part"] == "step"]
    assert all(count == 1 for one in steps for place, count in one["waits"].items() if "training/loop.py" in place)


@pytest.mark.long
def test_every_preset_passes_and_agrees_with_the_plan(tmp_path):
    records = dry_run(tmp_path, "--all")
    assert {one["preset"] for one in records} == set(presets())
    for one in records:
        assert not one["wrong"], one
        published = not one["preset"].startswith("toy")
        for said, counted in ((one["planned"], one["peak"]), (one["planned_flops"], sum(one["flops"].values()))):
            assert not (published and said) or said == pytest.approx(counted, rel=0.1), one["preset"]


def rows() -> dict[tuple[str, str], list[str]]:
    cells = (re.split(r" *\| *", line)[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| "))
    return {(row[0], row[1]): row for row in cells}


@pytest.mark.long
def test_the_page_of_performance_says_what_a_dry_run_gives(tmp_path):
    records = dry_run(tmp_path, "--preset", "llmga_qwen2_0.5b_s1", "sd15_inpaint", "x1-s2-prior", "--part", "step")
    for record in records:
        row = re.split(r" *\| *", page([record]).splitlines()[-1])[1:-1]
        assert rows()[record["preset"], row[1]] == row


RECORD = {"preset": "x", "stage": "stage 2", "part": "step", "size": "much", "flops": {"bfloat16": 312e12 * 0.4},
          "peak": 30 << 30, "devices": 1, "sharded": None, "read": 0.0,
          "ways": [{"flags": "--large", "tensors": 29 << 30, "host": 0.0},
                   {"flags": "--small", "tensors": 20 << 30, "host": float(7 << 30)}]}  # fmt: skip


def test_what_needs_more_than_a_device_has_does_not_fit():
    row = page([RECORD]).splitlines()[-1]
    assert need(RECORD) == pytest.approx(1.05 * 30 + 1.5)
    assert row.endswith("| RTX 4090: `--small` and 7 GiB of main memory; RTX 3060-12G: — |")
    assert seconds(RECORD, DEVICES["A100-80G"]) == pytest.approx(1.0)
    assert row.split(" | ")[6:11] == ["1", told(312 / 989), told(312 / 989), "—", "—"]


def test_what_several_devices_share_is_judged_on_each():
    shared = RECORD | {"devices": 8, "sharded": 10 << 30}
    assert page([shared]).splitlines()[-1].split(" | ")[2:6] == ["8", "125", "12.0", "33.0"]
    assert "—" not in page([shared | {"sharded": 5 << 30}]).splitlines()[-1]


def test_an_answer_takes_the_time_of_reading_the_weights():
    assert seconds(RECORD | {"read": 3 * 2.039e12}, DEVICES["A100-80G"]) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "no file of records"), (b"not json", "no file of records"), (b"3", "no file of records"),
     (b"\xff\xfe", "no file of records"), (b'{"a": 1}', "0 whole record"), (b"", "0 whole record")],
)  # fmt: skip
def test_a_page_is_made_of_records_only(content, told, tmp_path, capsys):
    source, target = tmp_path / "records.jsonl", tmp_path / "page.md"
    if content is not None:
        source.write_bytes(content)
    assert dry_run_page.main([str(source), str(target)]) == 2
    assert told in capsys.readouterr().err and not target.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--preset sdlx", "did you mean 'sdxl'"),
        ("--preset toy --all", "not allowed with"),
        ("", "--preset --all is required"),
        ("--preset toy --json /dev/null/records.jsonl", "cannot write"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_is(words, told, capsys):
    assert command(words.split()) == 2
    assert told in capsys.readouterr().err
