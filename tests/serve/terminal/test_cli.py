"""The terminal loop, on toys."""

import errno
import io
import runpy
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from llmga import command_line
from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.session import Turn
from llmga.serve import args as flags
from llmga.serve.terminal import chat, cli
from llmga.serve.terminal.asking import ask
from llmga.serve.terminal.chat import Terminal
from llmga.serve.terminal.commands import TerminalChat
from llmga.serve.terminal.talking import converse

ONE = "Here it is. <gen_image> a red circle </gen_image> Do you like it?"


@pytest.fixture
def talk(tmp_path, monkeypatch, capsys):
    """`talk(assistant, lines)` is what a piped conversation prints, as (out, err)."""

    def run(assistant, lines, debug=False, first=None, **rest):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        monkeypatch.chdir(tmp_path)
        converse(TerminalChat(assistant, Terminal(ImageFolder("outputs"), debug), **rest), first)
        return capsys.readouterr()

    return run


def test_a_conversation_reads_as_a_transcript(toy, talk, tmp_path):
    out, err = talk(toy(ONE, "Bye.", seed=7), "a circle\nthanks\n")
    assert out == (
        "You: a circle\n"
        "Assistant: Here it is. \n"
        "[a red circle]\n"
        "saved outputs/000.png (seed 7)\n"
        "Do you like it?\n"
        "You: thanks\n"
        "Assistant: Bye.\n"
        "You: \n"
    )
    assert "painting" in err
    assert (tmp_path / "outputs" / "000.png").exists()


def test_an_empty_line_ends(toy, talk):
    assistant = toy("one", "two")
    talk(assistant, "first\n\nsecond\n")
    assert assistant.session.turns == 1


def test_the_picture_goes_with_the_first_message_only(toy, talk):
    assistant, picture = toy("one", "two"), Image.new("RGB", (8, 8))
    talk(assistant, "second\n", pending=Turn("", (picture,)), first="first")
    users = assistant.session.conversation.messages[::2]
    assert [(user.text, len(user.images)) for user in users] == [("first", 1), ("second", 0)]


def test_a_mask_goes_with_the_picture_and_later_requests_repaint_the_same_part(toy, talk, toy_pipeline_class):
    painter, picture, mask = toy_pipeline_class(), Image.new("RGBA", (16, 8)), Image.new("L", (16, 8))
    mask.paste(255, (0, 0, 8, 8))
    talk(toy(ONE, ONE, pipeline=painter), "fill it\nin green\n", pending=Turn("", (picture,), mask))
    assert [(call.image, call.mask.tobytes()) for call in painter.calls] == [(picture, mask.tobytes())] * 2


def test_a_failure_is_one_sentence_and_the_session_goes_on(toy, talk):
    out, err = talk(toy("<gen_image> forbidden </gen_image>", ONE), "a\nb\n")
    assert "error: this prompt is forbidden; ask for another.\n" in err
    assert "saved outputs/000.png" in out


def test_a_defect_does_not_cost_the_conversation(toy, talk):
    out, err = talk(toy("<gen_image> broken </gen_image>", ONE), "a\nb\n")
    assert "error: RuntimeError: a defect (--debug shows where)" in err and "Traceback" not in err
    assert "saved outputs/000.png" in out


def test_the_words_of_a_model_do_not_steer_the_terminal(toy, talk):
    out = talk(toy("a\x1b[2Jb\x07 <gen_image> c\x9bd </gen_image>"), "a\n").out
    assert "a[2Jb" in out and "[cd]" in out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)


def test_debug_shows_tags_and_tracebacks(toy, talk):
    err = talk(toy(ONE, "<gen_image> broken </gen_image>"), "a\nb\n", debug=True).err
    assert f"raw reply: {ONE!r}" in err
    assert "Traceback" in err


def test_ctrl_c_stops_the_answer_and_keeps_the_session(toy, talk, toy_pipeline_class):
    class Interrupted(toy_pipeline_class):
        total = 10**9

        def __call__(self, prompt, *args, on_step, **rest):
            def report(step, total):
                on_step(step, total)
                if step == 2:
                    signal.raise_signal(signal.SIGINT)

            return super().__call__(prompt, *args, on_step=report, **rest)

    before = signal.getsignal(signal.SIGINT)
    out, _ = talk(toy(ONE, "Still here.", pipeline=Interrupted()), "a\nb\n")
    assert "stopped\n" in out and "saved" not in out
    assert "Assistant: Still here.\n" in out
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_at_the_prompt_ends(monkeypatch, capsys):
    def interrupted(prompt):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    assert ask() is None


def test_one_ctrl_c_at_the_prompt_of_a_terminal_drops_the_line_only(monkeypatch, capsys):
    typed = iter([KeyboardInterrupt, "a red circle", KeyboardInterrupt, KeyboardInterrupt])

    def answered(prompt):
        if (line := next(typed)) is KeyboardInterrupt:
            raise KeyboardInterrupt
        return line

    monkeypatch.setattr("builtins.input", answered)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert (ask(), ask()) == ("a red circle", None)
    assert capsys.readouterr().out == "\n(once more to end)\n" * 2 + "\n"


def test_a_full_disk_costs_neither_the_session_nor_leaves_half_a_file(toy, talk, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    out, err = talk(toy(ONE, "Bye."), "a\nb\n")
    assert "error: pictures cannot be saved in 'outputs' (no space left on device)" in err
    assert "Assistant: Bye." in out
    assert list((tmp_path / "outputs").iterdir()) == []


@pytest.mark.parametrize(
    "line",
    ["--size 63", "--conv-mode klingon", "--image-file missing.png", "--image-file {text}", "--save_path {text}/below"],
)
def test_bad_input_ends_with_2_before_models_are_loaded(line, tmp_path, monkeypatch, capsys):
    text, good = tmp_path / "text.png", tmp_path / "good.png"
    text.write_text("not a picture")
    Image.new("RGB", (8, 8)).save(good)
    monkeypatch.setattr(chat.Models, "load", lambda args: pytest.fail("models were loaded"))
    monkeypatch.setattr(cli, "quiet_libraries", lambda: None)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BytesIO()))
    argv = ["--image-file", str(good), "--model-path", "a", "--sdmodel_id", "b", *line.format(text=text).split()]
    with pytest.raises(SystemExit) as exit_:
        cli.main("sdxl", picture=True, argv=argv)
    sys.stderr.seek(0)
    shown = sys.stderr.read()
    assert exit_.value.code == 2
    assert shown.startswith("error: ") and shown.count("\n") == 1


MODULES = ["cli-sdxl", "cli2-sdxl", "cli-sd15", "cli2-sd15", "cli-sdxl-inpainting", "cli-sd15-inpainting"]
MODULES += ["cli-sd15-editing"]


@pytest.mark.parametrize("module", MODULES)
def test_every_command_line_starts(module, monkeypatch, capsys):
    monkeypatch.setattr(cli, "quiet_libraries", lambda: None)
    monkeypatch.setattr(cli, "run", lambda command: command())
    monkeypatch.setattr("sys.argv", [module, "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module(f"llmga.serve.{module}", run_name="__main__")
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m llmga.serve.{module} " in shown
    assert ("--image-file" in shown) == module.startswith("cli-")
    assert ("--outpaint" in shown) == module.endswith("inpainting")


def test_a_line_of_blanks_is_asked_for_again(monkeypatch):
    lines = iter(["   ", "a red circle"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    assert ask() == "a red circle"


def test_streams_that_are_closed_end_no_session(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as exit_:
        command_line.run(lambda: print("said to nobody") or len(sys.stdin.read()))
    assert exit_.value.code == 0


def test_what_is_piped_in_does_not_steer_the_terminal(toy, talk):
    assert "\x1b" not in talk(toy("ok"), "a \x1b[2J circle\n").out


@pytest.mark.parametrize(("reply", "code"), [("<gen_image> forbidden </gen_image>", 1), (ONE, None)])
def test_a_piped_conversation_in_which_a_picture_failed_ends_with_1(reply, code, toy, monkeypatch, tmp_path):
    assistant = toy(reply)
    told = SimpleNamespace(describe=lambda: {"family": "toy"})
    models = SimpleNamespace(guard=SimpleNamespace(signer=None), pipeline=told, assistant=lambda chosen: assistant)
    monkeypatch.setattr(chat.Models, "load", lambda spec, report: models)
    monkeypatch.setattr("sys.stdin", io.StringIO("a cat\n"))
    args = flags.build_parser("cli2-sdxl", "", False).parse_args(["--save_path", str(tmp_path)])
    assert chat.chat(args) == code
