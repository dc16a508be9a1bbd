"""Every program under examples/ runs as its first lines say, and does what they say."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def run(name: str, folder: Path, *arguments: object) -> str:
    """What the program prints, started in an empty folder."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_chat_and_paint(tmp_path: Path) -> None:
    said = run("chat_and_paint.py", tmp_path)
    red, green = (Image.open(tmp_path / name).convert("RGB") for name in ("circle.png", "green-circle.png"))
    assert "red" in said and "seed 8" in said and red.tobytes() != green.tobytes()


def test_a_photograph_grows(tmp_path: Path) -> None:
    run("extend_photograph.py", tmp_path, ROOT / "data/demo/scene.jpg", "wider.png")
    before, after = Image.open(ROOT / "data/demo/scene.jpg"), Image.open(tmp_path / "wider.png")
    assert after.size == (2 * before.width, before.height)


def test_a_server_plans(tmp_path: Path, serving) -> None:
    server = serving("Look: <gen_image> a small red star on a white background </gen_image>")
    said = run("remote_planner.py", tmp_path, server.url, "a star")
    assert "Look:" in said and Image.open(tmp_path / "picture-0.png").size == (64, 64)


def test_a_table_of_wishes(tmp_path: Path) -> None:
    with (tmp_path / "wishes.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["name", "wish"], ["one", "a red circle"], ["two", "a blue star"]])
    assert len(run("batch_csv.py", tmp_path, "wishes.csv", "out").splitlines()) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "two.png"]
    (tmp_path / "out/two.png").unlink()
    assert run("batch_csv.py", tmp_path, "wishes.csv", "out").split() == [os.path.join("out", "two.png")]


def test_a_folder_is_restored(tmp_path: Path) -> None:
    mask = Image.new("L", (64, 48))
    mask.paste(255, (16, 8, 48, 40))
    for folder, image in {"painted": Image.new("RGB", (64, 48), (90, 90, 90)), "masks": mask,
                          "originals": Image.new("RGB", (64, 48), (100, 100, 100))}.items():  # fmt: skip
        (tmp_path / folder).mkdir()
        image.save(tmp_path / folder / "a.png")
    run("restore_folder.py", tmp_path, "painted", "originals", "masks", "out")
    assert Image.open(tmp_path / "out/a.png").getpixel((32, 24)) == pytest.approx((100, 100, 100), abs=2)


def test_parts_of_ones_own(tmp_path: Path) -> None:
    said = run("custom_parts.py", tmp_path, "out.png")
    assert "OwnPipeline painted as own" in said and "restored by vivid" in said
    assert Image.open(tmp_path / "out.png").size == (64, 64)


def test_every_example_is_run_here() -> None:
    tested = Path(__file__).read_text("utf-8")
    assert [name for name in EXAMPLES if f'"{name}"' not in tested] == []


@pytest.mark.parametrize("name", [name for name in EXAMPLES if "sys.argv" in (ROOT / "examples" / name).read_text()])
def test_a_program_without_its_words_says_how_it_is_called(name: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"python examples/{name} " in done.stderr and "Traceback" not in done.stderr
