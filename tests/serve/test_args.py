"""Flags are checked before anything is loaded."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from llmga.errors import UserError
from llmga.serve.args import build_parser, check, settings, shipped


def parse(*argv, picture=None):
    return build_parser("cli", "a test", picture).parse_args(argv)


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("64x48", (64, 48)), ("48X64", (48, 64))])
def test_a_size_is_a_side_or_width_and_height(text, size):
    assert parse("--size", text).size == size


@pytest.mark.parametrize("spelling", ["--save_path", "--save-path"])
@pytest.mark.parametrize("other", ["--max-new-tokens", "--max_new_tokens"])
def test_hyphens_and_underscores_are_both_understood(spelling, other):
    args = parse(spelling, "here", other, "9")
    assert (args.save_path, args.max_new_tokens) == ("here", 9)


ORIGINAL = ["--model-path", "--model-base", "--sdmodel_id", "--save_path", "--image-file", "--conv-mode"]
ORIGINAL += ["--temperature", "--max-new-tokens", "--load-8bit", "--load-4bit", "--device", "--num-gpus", "--debug"]


@pytest.mark.parametrize("flag", ORIGINAL)
def test_the_flags_of_the_original_are_there(flag):
    assert flag in build_parser("cli", "a test")._option_string_actions


WRONG = {
    "--size 63": "use 56 or 64",
    "--size 64x50": "use 48 or 56",
    "--size 8": "use 16 to 2048",
    "--size 99999": "use 16 to 2048",
    "--size big": "is no size",
    "--size 64x64x64": "is no size",
    "--temperature 3": "0 to 2",
    "--temperature nan": "0 to 2",
    "--temperature warm": "a number",
    "--top-p 0": "0.01 to 1",
    "--steps 0": "1 to 1000",
    "--steps 2.5": "a whole number",
    "--guidance-scale -1": "0 to 100",
    "--guidance-scale inf": "0 to 100",
    "--max-new-tokens 0": "1 to 8192",
    "--seed -1": "0 to 4294967295",
    "--num-gpus 0": "1 to 64",
    "--max-memory 20GiB": "use entries such as 0=20GiB,cpu=60GiB",
    "--load-4bit --load-8bit": "not allowed with",
    "--colour red": "unrecognized",
    "--seed": "expected one argument",
}


@pytest.mark.parametrize(("line", "remedy"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_is_one_sentence_and_exit_2(line, remedy, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(*line.split())
    shown = capsys.readouterr().err
    assert exit_.value.code == 2
    assert shown.startswith("error: ") and remedy in shown and shown.count("\n") == 1


def test_a_picture_is_required_possible_or_unknown(capsys):
    assert parse(picture=None).image_file is None
    assert parse("--image-file", "a.png", picture=True).image_file == "a.png"
    for argv, picture in ((["--image-file", "a.png"], False), ([], True)):
        with pytest.raises(SystemExit):
            parse(*argv, picture=picture)


def test_help_can_be_shown(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse("--help")
    assert exit_.value.code == 0
    assert "--guidance-scale" in capsys.readouterr().out


def test_settings_are_what_was_typed():
    chosen = settings(
        parse("--seed", "3", "--steps", "4", "--guidance-scale", "2", "--size", "64x48", "--top-p", "0.5")
    )
    assert (chosen.seed, chosen.steps, chosen.guidance_scale, chosen.size, chosen.top_p) == (3, 4, 2.0, (64, 48), 0.5)


def given(*argv):
    """Models are named, so that the check does not look for the bundled ones."""
    return parse("--model-path", "a", "--sdmodel_id", "b", *argv)


@pytest.mark.parametrize(
    "argv", [("--conv-mode", "klingon"), ("--device", "toaster"), ("--restorer", "magic"), ("--image-file", "no.png")]
)
def test_unknown_names_are_told_apart(argv):
    with pytest.raises(UserError, match=argv[1]):
        check(given(*argv))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(UserError, match="no CUDA GPU"):
        check(given("--device", "cuda"))


def test_a_text_file_and_half_a_picture_are_refused(tmp_path):
    text, half = tmp_path / "text.png", tmp_path / "half.png"
    text.write_text("not a picture")
    Image.effect_noise((64, 64), 90).save(half)
    half.write_bytes(half.read_bytes()[:1500])
    for path in (text, half):
        with pytest.raises(UserError, match="not a readable picture"):
            check(given("--image-file", str(path)))


def test_a_picture_is_opened(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    assert check(given("--image-file", str(tmp_path / "a.png"))).size == (30, 20)
    assert check(given()) is None


def test_shipped_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped("llmga/serve/args.py", "--x").is_absolute()
    (tmp_path / "mine").mkdir()
    assert shipped("mine", "--x") == Path.cwd() / "mine"
    with pytest.raises(UserError, match="give --x"):
        shipped("nowhere", "--x")
