"""What can be typed beside messages."""

import io
import re
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.record import Record
from llmga.assistant.session import Turn
from llmga.assistant.session_file import load_session, save_session
from llmga.errors import UserError
from llmga.seams import Seam
from llmga.serve.terminal.commands import COMMANDS, TerminalChat
from llmga.serve.terminal.drawing import Terminal, told_of
from llmga.serve.terminal.settings_command import CHANGES

ONE = "Here. <gen_image> a red circle </gen_image>"


@pytest.fixture
def talk(toy, tmp_path, monkeypatch):
    """`talk(*replies, **settings)` is a conversation in a folder with a picture and masks; `said` is what it shows."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGBA", (16, 8), (1, 2, 3, 255)).save("a.png")
    mask = Image.new("L", (16, 8))
    mask.save("black.png")
    mask.paste(255, (0, 0, 8, 8))
    mask.save("m.png")

    def make(*replies, **settings):
        terminal = Terminal(ImageFolder("outputs"), out=io.StringIO(), err=io.StringIO())
        return TerminalChat(toy(*replies, **settings), terminal)

    return make


def shown(talk):
    return talk.terminal.out.getvalue(), talk.terminal.err.getvalue()


def typed(talk, *lines):
    for line in lines:
        talk.handle(line)
    return shown(talk)


def test_a_picture_goes_with_the_next_message_only(talk):
    now = talk("ok", "ok")
    typed(now, "/image a.png", "look", "thanks")
    users = [message for message in now.assistant.session.conversation.messages if message.role == "user"]
    assert [len(message.images) for message in users] == [1, 0]
    assert now.assistant.exchanges[0].turn.images[0].mode == "RGBA"


def test_a_mask_is_for_the_given_picture_or_the_latest_one(talk):
    now = talk(ONE, ONE, ONE, seed=5)
    typed(now, "/image a.png", "/mask m.png", "fill it", "/mask m.png", "again")
    first, second = now.assistant.pipeline.calls
    assert first.image.mode == "RGBA" and first.mask.getbbox() == (0, 0, 8, 8)
    assert second.image.getpixel((0, 0)) == (5, 0, 9, 255)  # what was painted first


def test_a_picture_is_outpainted(talk):
    now = talk(ONE)
    out, _ = typed(now, "/set fill mirror", "/image a.png", "/outpaint right=8", "wider")
    assert "16x8 grows to 24x8" in out
    assert now.assistant.exchanges[0].turn.fill == "mirror"
    assert now.assistant.exchanges[0].paintings[0].image.size == (24, 8)


def test_what_was_pending_stays_when_no_answer_came(talk, monkeypatch):
    now = talk(ONE)

    def unreachable(*_, **__):
        raise UserError("nobody answers")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(now.assistant.planner, "_answer", unreachable)
        _, err = typed(now, "/image a.png", "/mask m.png", "fill it")
    assert "nobody answers" in err and now.pending.mask is not None and now.pending.images
    typed(now, "fill it")
    assert now.pending == Turn("")


WRONG = {
    "/imgae a.png": "did you mean '/image'?",
    "/image": "/image lacks a name",
    "/image none.png": "does not exist",
    "/mask m.png": "there is no picture yet",
    "/outpaint left=5": "there is no picture yet",
    "/undo": "say something first",
    "/redo": "nothing to bring back",
    "/open": "no picture was saved yet",
    "/open 7": "there is no picture '7'",
    "/versions": "there is no picture yet",
    "/retry": "say something first",
    "/repair": "one of our own models",
    "/repaint": "no picture to paint again",
    "/edit 0 x": "there is none yet",
    "/edit": "out of range",
    "/seed -1": "use 0 to 4294967295",
    "/seed ٣": "out of range",
    "/set steps many": "a whole number, 1 to 1000",
    "/set stepz 3": "did you mean 'steps'?",
    "/set area sky": "unknown area 'sky'",
    "/set fill sky": "unknown fill 'sky'",
    "/set fil mirror": "did you mean 'fill'?",
    "/set restorer magic": "unknown restorer",
    "/set soft-mask maybe": "neither on nor off",
    "/set skip 0.3": "/set edit on first",
    "/set upscale 2": "no restoration weights of scale 2",
    "/load nothing": "is no session",
    "/save a.png/b": "cannot be saved",
}


@pytest.mark.parametrize(("line", "message"), WRONG.items(), ids=WRONG)
def test_a_wrong_command_is_one_sentence_and_changes_nothing(talk, line, message):
    now = talk(ONE)
    before = now.assistant.session
    out, err = typed(now, line)
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert now.assistant.session == before


@pytest.mark.parametrize("line", ["/", "/ ", "/ help"])
def test_a_lone_slash_asks_for_help(talk, line):
    out, err = typed(talk(ONE), line)
    assert "/quit" in out and not err


def test_a_black_mask_is_named(talk):
    out, err = typed(talk(ONE), "/image a.png", "/mask black.png")
    assert "mask 'black.png': the mask is empty" in err


VALUES = {
    "temperature": "0.5",
    "top-p": "0.9",
    "max-new-tokens": "99",
    "picture": "always",
    "steps": "3",
    "clip-skip": "1",
}
VALUES |= {"guidance-scale": "2.5", "negative-prompt": "--blur, text", "size": "64x48", "restorer": "match"}
VALUES |= {"strength": "0.5", "area": "mask", "soft-mask": "on", "edit": "on", "skip": "0.3", "ratio": "2.0"}
VALUES |= {"sampler": "euler", "picture-guidance": "2.5", "control": "off"}


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "upscale"])
def test_every_setting_is_set_shown_and_given_back(talk, name):
    now = talk(ONE)
    if name in ("skip", "ratio", "picture-guidance"):
        typed(now, "/set edit on")
    before = now.assistant.settings
    typed(now, f"/set {name} {VALUES[name]}")
    assert now.assistant.settings != before
    assert f"\n{name} {VALUES[name]}\n" in "\n" + typed(now, "/set")[0] + "\n"
    typed(now, f"/set {name} default")
    assert now.assistant.settings == before


def test_a_control_is_set_added_shown_and_taken_back(talk):
    now = talk(ONE, ONE)
    typed(now, "a picture", "/control canny 0.6", "/control depth 0.5 0-0.8 map a.png", "/control canny 0.7", "more")
    chosen = now.assistant.settings
    assert chosen.control == "depth:0.5:0-0.8:map,canny:0.7"
    assert [image.mode for image in chosen.control_images] == ["RGBA", "RGB"]
    assert now.assistant.pipeline.calls[1].controls[1].image == now.assistant.exchanges[0].paintings[0].image
    assert "guided by: depth:0.5:0-0.8:map,canny:0.7." in typed(now, "/control")[0]
    typed(now, "/control off")
    assert now.assistant.settings.control == "off" and not now.assistant.settings.control_images
    typed(now, "/control default")
    assert now.assistant.settings.control is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/control canny", "there is no picture yet"),
        ("/control cany a.png", "did you mean 'canny'"),
        ("/control canny 3 a.png", "use 0 to 2"),
        ("/control canny nowhere.png", "nowhere.png"),
        ("/control off 0.5", "unclear at '0.5'|stands alone|unknown control 'off'"),
    ],
)
def test_a_control_that_cannot_be_is_told_and_changes_nothing(talk, line, told):
    now = talk()
    assert re.search(told, typed(now, line)[1]) and now.assistant.settings.control is None


def test_the_next_seed_is_the_one_that_was_set(talk):
    now = talk(ONE, ONE, seed=1)
    out, _ = typed(now, "one", "/seed 40", "two", "/seed")
    assert "(seed 1)" in out and "(seed 40)" in out and "the next picture has seed 41" in out


def test_verbs_do_what_they_say(talk):
    now = talk(ONE, "b", "c", "d", seed=3)
    out, _ = typed(now, "one", "/repaint", "/repaint a dog", "two", "/retry", "/edit 0 eins", "/history", "/undo")
    assert [call.prompt for call in now.assistant.pipeline.calls] == ["a red circle", "a red circle", "a dog"]
    assert "0: eins" in out and "taken back: eins" in out
    assert now.assistant.exchanges == ()


def test_the_history_shows_both_sides_and_the_files(talk):
    now = talk(ONE + " Good?", "Bye.", seed=3)
    typed(now, "/image a.png", "one", "two")
    before = shown(now)[0]
    out = typed(now, "/history")[0].removeprefix(before)
    assert out == "0: one (1 given)\n   Here.  Good?\n   outputs/000.png (seed 3)\n1: two\n   Bye.\n"


def test_what_was_taken_back_is_brought_back_until_something_else_is_said(talk):
    now = talk(ONE, "b", "c", "d", seed=3)
    typed(now, "one", "two")
    before = now.assistant.exchanges
    out, _ = typed(now, "/undo", "/undo", "/redo", "/redo")
    assert "taken back: two (/redo brings it back)" in out and out.endswith("brought back: one\nbrought back: two\n")
    assert now.assistant.exchanges == before and now.assistant.session.next_seed == 4
    typed(now, "/undo", "three")
    assert "nothing to bring back" in typed(now, "/redo")[1]


def test_versions_of_the_latest_prompt_are_painted_and_listed(talk):
    now = talk(ONE, "no picture", seed=3)
    out, _ = typed(now, "one", "two", "/versions 2")
    assert out.endswith("outputs/000.png (seed 3)\noutputs/001.png (seed 4)\noutputs/002.png (seed 5)\n")
    assert "use 1 to 10" in typed(now, "/versions 11")[1]


def test_a_picture_is_opened_by_what_the_system_has(talk, tmp_path, monkeypatch):
    now = talk(ONE)
    typed(now, "one", "/repaint")
    monkeypatch.delenv("DISPLAY", raising=False), monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert f"the picture is {tmp_path / 'outputs/001.png'}; nothing here" in typed(now, "/open")[0]
    opener, told = tmp_path / "xdg-open", tmp_path / "told"
    opener.write_text(f'#!/bin/sh\necho "$1" > {told}.part && mv {told}.part {told}\n')
    opener.chmod(0o755)
    monkeypatch.setenv("DISPLAY", ":0"), monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("sys.platform", "linux")
    assert "opened outputs/000.png" in typed(now, "/open 0")[0]
    end = time.monotonic() + 30
    while not told.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert told.read_text() == f"{tmp_path / 'outputs/000.png'}\n"


def test_the_models_are_told_and_what_else_is_there(talk, tmp_path):
    folder = tmp_path / "checkpoints/Inference/mine"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    out, _ = typed(talk(), "/models")
    assert out.startswith("painter unnamed (toy)\n") and "\n--sdmodel_id mine\n" in out


def test_the_values_in_force_are_shown_those_of_the_checkpoint_too(talk):
    now = talk(ONE)
    out, _ = typed(now, "/set steps", "/set")
    assert "steps is 3 (default): denoising steps, 1 to 1000." in out and "guidance-scale 2.5 (default)\n" in out
    assert "sampler ToySampler (default)\n" in out or "sampler none (default)\n" in out
    assert typed(now, "/set steps 7", "/set")[0].endswith("fill edge\n") and "\nsteps 7\n" in shown(now)[0]


@pytest.mark.parametrize("place", ["", " s.zip"])
def test_a_session_is_saved_and_gone_on_with(talk, place):
    now, other = talk(ONE, seed=3), talk(ONE)
    typed(now, "one", f"/save{place}")
    out, _ = typed(other, f"/load{place}", "two")
    assert "going on after turn 1." in out and "(seed 4)" in out


def test_a_session_is_kept_after_every_answer(talk, tmp_path):
    now, other = talk(ONE, "b", seed=3), talk("c")
    now.session = tmp_path / "kept"
    typed(now, "one", "two", "/undo")
    typed(other, f"/load {tmp_path / 'kept'}")
    assert [exchange.turn.text for exchange in other.assistant.exchanges] == ["one"]


def test_help_names_every_command(talk):
    out, _ = typed(talk(), "/help")
    assert [line.split()[0] for line in out.splitlines()] == list(COMMANDS)


def test_the_guide_names_every_command():
    guide = (Path(__file__).resolve().parents[3] / "docs/guide/talk.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"`{name}" not in guide] == []


def test_two_slashes_begin_a_message(talk):
    now = talk("ok")
    typed(now, "//image is a word")
    assert now.assistant.exchanges[0].turn.text == "/image is a word"


def test_quit_ends(talk):
    now = talk()
    typed(now, "/quit")
    assert now.over


def test_a_long_prompt_shows_how_it_is_cut_and_a_mask_how_its_seam_shows(talk, toy_pipeline_class, monkeypatch):
    monkeypatch.setattr(toy_pipeline_class, "report", lambda self, prompt: "98 tokens in 2 chunks", raising=False)
    out, _ = typed(talk(ONE), "/image a.png", "/mask m.png", "fill it")
    assert "[a red circle] (98 tokens in 2 chunks)" in out
    assert ", seam hidden" in out or ", seam visible" in out


@pytest.mark.parametrize(
    ("colour", "restorer", "told"),
    [
        (1.9, "none", ", seam hidden"),
        (2.5, "none", ", seam visible: try --restorer match+blend"),
        (2.5, "match+blend", ", seam visible: try --restorer diffrir-x1"),
        (2.5, "diffrir-x1", ", seam visible"),
        (None, None, ""),
    ],
)
def test_a_seam_is_told_in_words_with_what_may_help(colour, restorer, told):
    after = None if colour is None else Seam(colour, 0.0)
    assert told_of(Record(prompt="a", request="b", seed=1, restorer=restorer, seam_after=after)) == f"(seed 1{told})"


def test_an_instruction_is_done_as_said_and_its_line_tells_what_changed(talk, toy_pipeline_class, monkeypatch):
    monkeypatch.setattr(toy_pipeline_class, "edits_by", "instruction", raising=False)
    now = talk(ONE, ONE)
    out, err = typed(now, "/set edit on", "/image a.png", "make it red", "and larger")
    assert "[make it red]" in out and "[and larger]" in out and "circle" not in out and "error" not in err
    assert "changed 100.0% of the picture, within 0,0 to 16,8)" in out
    assert [call.prompt for call in now.assistant.pipeline.calls] == ["make it red", "and larger"]


@pytest.mark.parametrize("problem", [RuntimeError("a defect"), KeyboardInterrupt()])
def test_nothing_that_happens_in_a_command_ends_the_conversation(talk, monkeypatch, problem):
    def broken(*args, **rest):
        raise problem

    monkeypatch.setattr("llmga.serve.terminal.commands.open_image", broken)
    out, err = typed(talk(ONE), "/image a.png", "a circle")
    assert "saved outputs/000.png" in out
    assert ("stopped\n" in out) == isinstance(problem, KeyboardInterrupt)
    assert ("error: RuntimeError: a defect" in err) == isinstance(problem, RuntimeError)


def test_ctrl_c_does_not_interrupt_the_saving_of_an_answer(talk, monkeypatch, tmp_path):
    def interrupted(place, *rest):
        signal.raise_signal(signal.SIGINT)
        return save_session(place, *rest)

    monkeypatch.setattr("llmga.serve.terminal.commands.save_session", interrupted)
    now = talk(ONE)
    now.session = tmp_path / "s.zip"
    typed(now, "a circle")
    assert len(load_session(now.session).session.exchanges) == 1


@pytest.mark.parametrize("typed_as", ["'{}'", '"{}"', "{}", "~/{}", "escaped"])
def test_a_file_that_is_dropped_on_the_terminal_is_found(talk, monkeypatch, tmp_path, typed_as):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (8, 8)).save("a b (1).png")
    name = r"a\ b\ \(1\).png" if typed_as == "escaped" else typed_as.format("a b (1).png")
    assert "8x8; it goes with your next message." in typed(talk(ONE), f"/image {name}")[0]


def test_a_session_is_saved_at_home(talk, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    typed(talk(ONE), "a circle", "/save ~/mine.zip")
    assert "going on after turn 1" in typed(talk(ONE), "/load '~/mine.zip'")[0]
    assert (tmp_path / "home" / "mine.zip").is_file()
