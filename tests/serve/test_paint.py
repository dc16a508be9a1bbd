"""`llmga paint`: files and exit codes for scripts, on toys."""

import io
import json
import signal
from types import SimpleNamespace

import pytest
from PIL import Image

from llmga.assistant.image_files import kind_of, read
from llmga.errors import command_line
from llmga.llava.planner import Planner
from llmga.serve import one_shot, paint

ONE = "Here it is. <gen_image> a red circle </gen_image> Good?"
TWO = "<gen_image> a cat </gen_image> <gen_image> a dog </gen_image>"


@pytest.fixture
def llmga_paint(toy, tmp_path, monkeypatch, capsys):
    """`llmga_paint(replies, *argv)` is (exit code, stdout, stderr), in a folder with a picture and a mask."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paint, "quiet_libraries", lambda: None)
    Image.new("RGB", (16, 8), "navy").save("a.png")
    mask = Image.new("L", (16, 8))
    mask.paste(255, (0, 0, 8, 8))
    mask.save("m.png")

    def call(replies, *argv, stdin="", **options):
        made = toy(*replies, **options)

        def assistant(chosen):
            made.settings = chosen
            return made

        spec = []
        models = SimpleNamespace(guard=SimpleNamespace(signer=None), assistant=assistant)
        monkeypatch.setattr(one_shot.Models, "load", lambda given, report: spec.append(given) or models)
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        call.assistant, call.spec = made, spec
        code = command_line(lambda argv: paint.start(paint.build_parser().parse_args(argv)))(argv)
        return code, *capsys.readouterr()

    return call


def test_the_name_of_the_file_is_all_that_stands_on_the_standard_output(llmga_paint):
    code, out, err = llmga_paint([ONE], "a circle", "-o", "new/out.jpg", "--seed", "7", "--steps", "2")
    assert (code, out) == (0, "new/out.jpg\n")
    assert err == "Here it is. \n[a red circle]\nsaved new/out.jpg (seed 7)\nGood?\n"
    record = read("new/out.jpg")
    assert (record.prompt, record.request, record.seed) == ("a red circle", "a circle", 7)
    assert kind_of("new/out.jpg") == "jpeg" and record.words["picture"] == "always"


def test_several_pictures_are_beside_it_or_numbered(llmga_paint):
    assert llmga_paint([ONE], "a circle", "-o", "o.png", "-n", "3", "-q") == (0, "o.png\no-2.png\no-3.png\n", "")
    assert llmga_paint([TWO], "pets", "--save_path", "p", "--format", "webp", "-q")[1] == "p/000.webp\np/001.webp\n"


def test_json_tells_how_each_picture_was_made(llmga_paint):
    code, out, _ = llmga_paint([ONE], "fill it", "-i", "a.png", "-m", "m.png", "-o", "o.png", "--json", "--seed", "7")
    told = json.loads(out)
    (picture,) = told.pop("pictures")
    assert code == 0 and told == {"text": "Here it is.  Good?", "error": None}
    assert picture["file"] == "o.png" and picture["prompt"] == "a red circle" and picture["seed"] == 7
    assert picture["seam"].startswith("seam ") and picture["record"]["seam_after"] is not None
    assert picture["record"] == json.loads(read("o.png").to_json())
    assert Image.open("o.png").getpixel((15, 7)) == (0, 0, 128)  # what is kept is kept


def test_words_come_from_the_standard_input(llmga_paint):
    assert llmga_paint([ONE], "-", "-q", stdin="a circle\nof fire\n")[0] == 0
    assert llmga_paint.assistant.exchanges[0].turn.text == "a circle\nof fire"
    code, out, err = llmga_paint([ONE], "-", stdin=" \n")
    assert (code, out) == (2, "") and "the standard input says nothing" in err


def test_a_language_model_that_asks_for_no_picture_has_its_words_painted(llmga_paint):
    assert llmga_paint(["A blue square."], "anything", "-q")[:2] == (0, "outputs/000.png\n")
    assert read("outputs/000.png").prompt == "A blue square."


def test_a_server_that_cannot_be_steered_answers_as_it_likes(llmga_paint, monkeypatch):
    monkeypatch.setattr("tests.toys.ToyChat.steers", Planner.steers)
    assert llmga_paint([ONE], "a circle", "-q")[0] == 0
    assert llmga_paint.assistant.planner.samplings[0].picture == "auto"


def test_what_fails_ends_with_1_and_says_why(llmga_paint):
    reply = "<gen_image> a cat </gen_image> <gen_image> forbidden </gen_image>"
    code, out, err = llmga_paint([reply], "pets", "-q")
    assert (code, out) == (1, "outputs/000.png\n") and err == "error: this prompt is forbidden; ask for another.\n"
    code, out, err = llmga_paint(["<gen_image> broken </gen_image>"], "x", "--json")
    assert code == 1 and "RuntimeError: a defect" in json.loads(out)["error"] and "RuntimeError" in err


def test_ctrl_c_ends_with_130_and_keeps_what_is_finished(llmga_paint, toy_pipeline_class):
    class Interrupted(toy_pipeline_class):
        def __call__(self, prompt, *args, on_step, **rest):
            def report(step, total):
                on_step(step, total)
                if "dog" in prompt and step == 2:
                    signal.raise_signal(signal.SIGINT)

            self.total = 10**9 if "dog" in prompt else 3
            return super().__call__(prompt, *args, on_step=report, **rest)

    code, out, err = llmga_paint([TWO], "pets", "-o", "o.png", "--json", pipeline=Interrupted())
    assert code == 130 and [each["file"] for each in json.loads(out)["pictures"]] == ["o.png"]
    assert json.loads(out)["error"] == "stopped" and "stopped" in err


def test_which_model_is_opened_follows_from_what_is_to_be_done(llmga_paint):
    for argv, task in (((), None), (("-i", "a.png"), None), (("-i", "a.png", "-m", "m.png"), "inpainting"),
                       (("-i", "a.png", "--outpaint", "right=8"), "inpainting"), (("-i", "a.png", "--edit"), "editing"),
                       (("-i", "a.png", "-m", "m.png", "--inpainter", "x"), None)):  # fmt: skip
        assert llmga_paint([ONE, ONE], "x", "-q", *argv)[0] == 0
        assert llmga_paint.spec[0].task == task
    assert llmga_paint([ONE], "x", "-q", "--verbatim")[0] == 0 and llmga_paint.spec[0].verbatim


WRONG = {
    "x -m m.png": "--mask-file is for a picture",
    "x --edit": "--edit is for a picture",
    "x -i a.png --edit -m m.png": "--edit changes the whole picture, --mask-file a part of it",
    "x --strength 0.5": "--strength says how a picture is changed; give --mask-file or --outpaint",
    "x -i a.png --skip 0.5": "--skip says how a picture is changed; give --edit",
    "x -i none.png": "does not exist",
    "x -o out.gif": "use one of .png, .jpg, .webp, .jpeg",
    "x -o .": "is a folder",
    "x -n 11": "'11' is out of range; use a whole number, 1 to 10",
    "x --verbatim -i a.png": "nobody who looks at --image-file",
    "x --verbatim --model-path y": "--model-path names one",
    "x -i a.png --edit --verbatim": "leave --verbatim out",
    "x --control cany": "did you mean 'canny'",
    "": "required: TEXT",
}


@pytest.mark.parametrize(("line", "told"), WRONG.items(), ids=WRONG)
def test_what_cannot_be_done_ends_with_2_and_one_sentence(llmga_paint, line, told):
    code, out, err = llmga_paint([ONE], *line.split(), "--json")
    assert code == 2 and told in err and err.count("\n") == 1
    assert not out or json.loads(out)["error"] in err


def test_every_setting_is_a_flag():
    from llmga.assistant.settings import SETTINGS

    flags = {flag for action in paint.build_parser()._actions for flag in action.option_strings}
    assert {f"--{row.flag}" for row in SETTINGS.values() if row.flag} - flags == {"--picture"}  # there has to be one
