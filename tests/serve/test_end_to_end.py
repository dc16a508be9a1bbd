"""The whole product on the bundled checkpoints: words and pictures in, pictures out."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import llmga
from llmga.assistant.events import Failed, PictureReady, TextDelta
from llmga.assistant.image_files import png_bytes, read
from llmga.assistant.loading import BUNDLED_PIPELINE, Models, bundled
from llmga.assistant.session import Turn
from llmga.images import open_image
from llmga.serve.args import build_parser
from llmga.serve.demo import SCENE
from llmga.serve.parsed_args import model_spec, settings

ROOT = Path(llmga.__file__).resolve().parent.parent
REQUEST = "a big red circle on a blue background"
CHANNELS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def session():
    """`session(seed)` is a fresh assistant on models that are loaded once."""
    args = build_parser("cli", "a test").parse_args([])
    models = Models.load(model_spec(args).checked())

    def start(seed=7):
        args.seed = seed
        return models.assistant(settings(args))

    return start


@pytest.fixture(scope="module")
def scene():
    return open_image(bundled(SCENE, "--image-file"))


def answer(assistant, text, *images):
    """(words, pictures) of one turn."""
    events = list(assistant.stream(Turn(text, images)))
    assert [event for event in events if isinstance(event, Failed)] == []
    words = "".join(event.text for event in events if isinstance(event, TextDelta))
    return words, [event for event in events if isinstance(event, PictureReady)]


def share(image, colour):
    """The share of pixels in which this channel leads the others by far."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    channel = CHANNELS.index(colour)
    others = np.delete(pixels, channel, axis=2).max(axis=2)
    return float((pixels[..., channel] > others + 50).mean())


def test_a_red_circle_on_blue_is_red_on_blue_and_can_be_made_green(session):
    assistant = session()
    words, (first,) = answer(assistant, REQUEST)
    assert words.strip() and "<" not in words
    assert share(first.image, "red") > 0.1 and share(first.image, "blue") > 0.3
    _, (second,) = answer(assistant, "make it green")
    assert share(second.image, "green") > 0.1 and share(second.image, "red") < 0.05
    assert share(second.image, "blue") > 0.3


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_picture(session):
    files = [
        png_bytes(ready.image, ready.record) for seed in (7, 7, 8) for ready in [answer(session(seed), REQUEST)[1][0]]
    ]
    assert files[0] == files[1]
    pixels = [answer(session(seed), REQUEST)[1][0].image.tobytes() for seed in (7, 8)]
    assert pixels[0] != pixels[1]


def test_small_talk_paints_nothing(session):
    words, pictures = answer(session(), "hello")
    assert words.strip() and pictures == []


def test_a_picture_is_described_in_words_and_painted_again_when_asked(session, scene):
    assistant = session()
    words, pictures = answer(assistant, "describe this picture", scene)
    assert words.strip() and pictures == []
    assert len(answer(assistant, "generate a similar image")[1]) == 1


@pytest.mark.parametrize("size", [(1, 1), (37, 1500), (4000, 3000)])
def test_a_picture_of_any_size_is_accepted(session, size):
    words, pictures = answer(session(), "describe this picture", Image.effect_noise(size, 80).convert("RGB"))
    assert words.strip() or pictures


def run(module, *argv, lines="", cwd):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"llmga.serve.{module}", *argv]
    return subprocess.run(command, input=lines, capture_output=True, text=True, cwd=cwd, env=environment)


def test_the_command_line_numbers_pictures_over_sessions(tmp_path):
    for name in ("000.png", "001.png"):
        done = run("cli2-sdxl", "--seed", "7", lines=REQUEST + "\n", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"saved outputs/{name} (seed 7)" in done.stdout
    first, second = ((tmp_path / "outputs" / name).read_bytes() for name in ("000.png", "001.png"))
    assert first == second
    record = read(tmp_path / "outputs" / "000.png")
    assert record.request == REQUEST and record.seed == 7
    assert [mark.role for mark in record.models] == ["language", "painter"]
    assert all(len(mark.sha256) == 64 for mark in record.models)


def test_without_a_folder_of_sd15_the_bundled_model_paints_and_says_so(tmp_path):
    done = run("cli2-sd15", lines="hello\n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the bundled toy model (sdxl) paints" in done.stdout


def test_a_checkpoint_that_lacks_a_file_is_one_sentence(tmp_path):
    shutil.copytree(bundled(BUNDLED_PIPELINE, "--sdmodel_id"), tmp_path / "torn")
    (tmp_path / "torn" / "unet" / "config.json").unlink()
    done = run("cli2-sdxl", "--sdmodel_id", "torn", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr


def test_the_scripted_demo_paints_without_overwriting(tmp_path):
    for number in (1, 2):
        done = run("demo", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"4 pictures are in outputs/demo-{number}: 000.png, 001.png, 002.png, 003.png" in done.stdout
        assert "peak memory" in done.stdout
        assert re.search(r"003.png \(seed 0, seam (hidden|visible)", done.stdout)
        record = read(tmp_path / f"outputs/demo-{number}/003.png")
        assert record.seam_after.colour < record.seam_before.colour / 2, "restoration helps"
    assert len(list(tmp_path.rglob("*.png"))) == 8


def test_a_server_plans_and_the_bundled_model_paints(serving, tmp_path):
    server = serving(f"Here. <gen_image> {REQUEST} </gen_image>", models=["clever-vl"])
    argv = ["--mllm-url", server.url, "--mllm-model", "clever-vl", "--seed", "7", "--mllm-key", "sk-1"]
    done = run("cli2-sdxl", *argv, lines="something red\n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"[{REQUEST}]\nsaved outputs/000.png (seed 7)" in done.stdout
    assert "No --sdmodel_id given" in done.stdout
    record = read(tmp_path / "outputs" / "000.png")
    assert record.prompt == REQUEST and record.request == "something red"
    assert [(mark.role, mark.name) for mark in record.models][0] == ("language", f"clever-vl at {server.url}")
    assert "sk-1" not in str(record)
    with Image.open(tmp_path / "outputs" / "000.png") as image:
        assert share(image, "red") > 0.1 and share(image, "blue") > 0.3
    assert server.requests[0]["messages"][-1] == {"role": "user", "content": "something red"}


def test_a_server_that_is_down_is_one_sentence_before_anything_is_loaded(tmp_path):
    done = run("cli2-sdxl", "--mllm-url", "http://127.0.0.1:9/v1", "--mllm-model", "x", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: http://127.0.0.1:9/v1 cannot be reached")
