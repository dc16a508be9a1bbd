"""Flags are checked before anything is loaded."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from llmga.assistant.loading import bundled
from llmga.assistant.session import Turn
from llmga.diffusers.families import INPAINTING
from llmga.errors import UserError
from llmga.serve.args import build_parser
from llmga.serve.parsed_args import first_picture, model_spec, opening, settings


def parse(*argv, picture=None, task=None):
    return build_parser("cli", "a test", picture, task=task).parse_args(argv)


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
    "--session a --batch b": "not allowed with argument --session",
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
    "--picture never": "auto",
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
    assert (chosen.picture, settings(parse("--picture", "always")).picture) == ("auto", "always")
    assert (chosen.seed, chosen.steps, chosen.guidance_scale, chosen.size, chosen.top_p) == (3, 4, 2.0, (64, 48), 0.5)


def check(args):
    """Which models are meant; the picture is opened, too."""
    first_picture(args)
    return model_spec(args).checked()


def given(*argv):
    """Models are named, so that the check does not look for the bundled ones."""
    return parse("--model-path", "a", "--sdmodel_id", "b", *argv)


@pytest.mark.parametrize(
    "argv", [("--conv-mode", "klingon"), ("--device", "toaster"), ("--restorer", "magic"), ("--image-file", "no.png")]
)
def test_unknown_names_are_told_apart(argv):
    with pytest.raises(UserError, match=argv[1]):
        check(given(*argv))


def test_the_bundled_inpainter_goes_with_the_bundled_painter_and_another_one_is_asked_for():
    toy, own, both = parse(), given(), given("--inpainter", "c")
    toy, own, both = (check(args) for args in (toy, own, both))
    assert Path(toy.inpainter).name == "llmga-toy-sdxl-inpainting"
    assert (own.inpainter, both.inpainter) == (None, "c")
    filling = parse("--inpainter", "c", "--mask-file", "m.png", task=INPAINTING)
    with pytest.raises(UserError, match="give this command's one model as --sdmodel_id"):
        check(filling)


def test_a_server_takes_the_place_of_a_model(serving, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("LLMGA_API_KEY", "sk-ours")
    server = serving("hi")
    args = parse("--mllm-url", server.url, "--sdmodel_id", "b", "--mllm-timeout", "3", "--mllm-system", "")
    mllm = check(args).mllm
    assert mllm.system == ""
    assert (mllm.url, mllm.model, mllm.timeout) == (server.url, "tiny", 3)
    assert server.gets[0][1]["Authorization"] == "Bearer sk-ours"


@pytest.mark.parametrize("other", ["--model-path x", "--model-base x", "--conv-mode qwen_2", "--load-4bit"])
def test_a_server_and_a_model_of_our_own_exclude_each_other(other):
    with pytest.raises(UserError, match=f"{other.split()[0]} is about a model loaded here"):
        check(parse("--mllm-url", "http://127.0.0.1:9", "--sdmodel_id", "b", *other.split()))


def test_a_served_model_needs_its_server():
    with pytest.raises(UserError, match="--mllm-model 'x' needs a server"):
        check(given("--mllm-model", "x"))


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
    assert first_picture(given("--image-file", str(tmp_path / "a.png"))).size == (30, 20)
    assert first_picture(given()) is None


@pytest.fixture
def repaint(tmp_path):
    """`repaint(flags…)` are the arguments of an inpainting command line with a picture of 30x20."""
    picture, mask = Image.new("RGBA", (30, 20), (1, 2, 3, 4)), Image.new("L", (30, 20))
    mask.paste(255, (0, 0, 10, 20))
    picture.save(tmp_path / "a.png"), mask.save(tmp_path / "m.png")
    Image.new("L", (30, 20)).save(tmp_path / "black.png"), Image.new("L", (8, 8)).save(tmp_path / "small.png")
    start = ["--model-path", "a", "--sdmodel_id", "b", "--image-file", str(tmp_path / "a.png")]

    def parsed(*argv):
        argv = [word.format(folder=tmp_path) for word in argv]
        return parse(*start, *argv, picture=True, task="inpainting")

    return parsed


def opened(args):
    check(args)
    return opening(args, first_picture(args))


def test_a_region_is_a_mask_file_or_what_is_added(repaint):
    turn = opened(repaint("--mask-file", "{folder}/m.png"))
    assert turn.images[0].mode == "RGBA" and turn.images[0].getpixel((0, 0)) == (1, 2, 3, 4)
    assert turn.mask.getpixel((9, 19)) == 255 and turn.mask.getpixel((10, 0)) == 0
    turn = opened(repaint("--outpaint", "left=50%,top=4", "--fill", "grey"))
    assert (turn.outpaint, turn.fill, turn.mask) == ("left=50%,top=4", "grey", None)
    assert opened(given()) == Turn("")


def test_region_flags_reach_the_painter(repaint):
    args = repaint("--outpaint", "all=9", "--strength", "0.5", "--area", "mask", "--soft-mask", "--sampler", "euler")
    assert settings(args).repaint == {"strength": 0.5, "area": "mask", "soft": True}
    spec = model_spec(args)
    assert (spec.task, spec.sampler) == ("inpainting", "euler")
    assert settings(given()).repaint == {} and model_spec(given()).task is None


@pytest.mark.parametrize(
    "argv", [(), ("--outpaint", "left=3", "--mask-file", "m.png"), ("--outpaint", "left=3", "--strength", "0")]
)
def test_a_region_is_given_once_and_in_range(repaint, argv, capsys):
    with pytest.raises(SystemExit) as exit_:
        repaint(*argv)
    assert exit_.value.code == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--mask-file", "{folder}/none.png"), "does not exist"),
        (("--mask-file", "{folder}/a.png"), "a.png': the mask is empty|a.png': the mask covers"),
        (("--mask-file", "{folder}/black.png"), "black.png': the mask is empty"),
        (("--mask-file", "{folder}/small.png"), "small.png': the mask is 8x8"),
        (("--outpaint", "left=0"), "nothing is added"),
        (("--outpaint", "left=5", "--fill", "sky"), "unknown fill 'sky'"),
        (("--outpaint", "left=5", "--area", "sky"), "unknown area 'sky'"),
    ],
)
def test_a_region_that_cannot_be_is_told(repaint, argv, message):
    with pytest.raises(UserError, match=message):
        opened(repaint(*argv))


def test_editing_flags_reach_the_painter():
    args = parse("--image-file", "a.png", "--skip", "0.5", picture=True, task="editing")
    assert settings(args).edit == {"skip": 0.5, "ratio": 3.0, "picture_guidance": None}
    assert model_spec(args).task == "editing"
    assert settings(given()).edit is None


@pytest.mark.parametrize("argv", [("--sampler", "magic"), ("--dtype", "fp8")])
def test_unknown_names_of_the_painter_are_told(argv):
    with pytest.raises(UserError, match=argv[1]):
        check(given(*argv))


def test_shipped_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundled("llmga/serve/args.py", "--x").is_absolute()
    (tmp_path / "mine").mkdir()
    assert bundled("mine", "--x") == Path.cwd() / "mine"
    with pytest.raises(UserError, match="give --x"):
        bundled("nowhere", "--x")


def test_an_editor_is_a_model_beside_the_painter():
    assert model_spec(parse("--editor", "my-kontext")).editor == "my-kontext"
