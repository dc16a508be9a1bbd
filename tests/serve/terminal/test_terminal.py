"""A person at a real terminal: pasting, completing, looking back, resizing, and Ctrl-C at every moment."""

import os
import re
import signal
import stat
import sys
import time

import pexpect
import pytest

from llmga.assistant.session_file import load_session
from llmga.serve.terminal.asking import ONCE_MORE
from llmga.serve.terminal.talking import BEGIN
from tests.serve.terminal.conftest import CTRL_C, CTRL_D, CTRL_U, ENTER, ESCAPE, ROOT, TAB, UP, pasted

PROMPT = "a red circle on a blue background, painted with much care"


def kept(folder):
    """The conversations that were kept without being asked for, the latest last."""
    return [load_session(place).session for place in sorted((folder / "state/llmga/conversations").iterdir())]


def test_it_says_how_to_begin_and_at_the_end_what_was_made_and_where(sit):
    seat = sit(columns=60)
    assert "loaded the painter toy in " in seat.screen and BEGIN in " ".join(seat.screen.split())
    seat.say("circle"), seat.say("/versions 1")
    seat.press(CTRL_D)
    assert seat.ended() == 0
    told = seat.raw.decode().rpartition("You: ")[2]
    assert "2 pictures are in outputs: 000.png, 001.png." in told
    place = re.search(r"llmga chat --session (\S+)", told)[1]  # longer than the screen is wide, and whole all the same
    assert len(place) > 60 and len(load_session(place).session.exchanges[0].paintings) == 2


def test_nothing_made_is_nothing_told(sit):
    seat = sit()
    seat.press(ENTER)
    assert seat.ended() == 0 and "llmga chat" not in seat.screen and not kept(seat.folder)


def test_pasted_lines_are_one_message_and_lines_can_be_typed(sit):
    seat = sit()
    seat.until("three", pasted("one\ntwo\nthree"))
    assert "I read" not in seat.screen
    assert "I read 3 lines: one" in seat.say("")
    seat.until("first", f"first{ESCAPE}{ENTER}second")
    assert "I read 2 lines: first" in seat.say("")
    seat.until("You: /set steps 3", pasted("/set steps 3"))
    assert "steps is 3." in seat.say("")


COMPLETED = {
    "/hist": "/history",
    "/set samp": "/set sampler",
    "/set soft-mask of": "/set soft-mask off",
    "/image fotos/my": "/image fotos/my photo.png",
    "/save fot": "/save fotos/",
    "/control cann": "/control canny",
    "/control canny fotos/m": "/control canny fotos/my photo.png",
}


def test_the_tab_key_completes_commands_names_values_and_files(sit, tmp_path):
    (tmp_path / "fotos").mkdir()
    (tmp_path / "fotos" / "my photo.png").touch()
    seat = sit()
    for typed, whole in COMPLETED.items():
        seat.until(lambda: seat.last == f"You: {typed}", CTRL_U + typed)  # noqa: B023  called at once
        seat.until(lambda: seat.last == f"You: {whole}", TAB)  # noqa: B023
    seat.until("take the last message and its answer back", f"{CTRL_U}/{TAB}")
    assert "/undo" in seat.screen and "/image" in seat.screen


def test_markdown_is_drawn_and_the_prompt_stands_apart(sit):
    seat = sit()
    seat.say("markdown")
    assert seat.style("bold").bold and not seat.style("This is").bold and "**" not in seat.screen
    assert "\u2022 one" in seat.screen and "<b>tag</b>" in seat.screen and "a < b" in seat.screen
    written = seat.say("circle")
    assert f"\x1b[2m{PROMPT}\x1b[0m" in written and f"\n\n  {PROMPT}\n" in seat.screen and "[" not in seat.screen
    assert "\u2580" in seat.screen and "\x1b[38;2;7;0;9;48;2;7;0;9m" in written  # the toy's colour, in half blocks
    assert "\nYou: circle\nHere it is.\n" in seat.screen


def test_words_are_never_cut_nor_drawn_twice(sit):
    seat = sit(columns=44, rows=12)
    written = seat.say("long")
    lines = seat.screen.split("You: long\n")[1].split("\n\n")[0].split("\n")
    assert " ".join(lines) == "word " * 60 + "end of it." and max(map(len, lines)) <= 44
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", written)
    assert plain.count("word") < 75  # only what changes is written anew, so that nothing flickers


def test_a_resized_terminal_goes_on_with_its_new_width(sit):
    seat = sit()
    seat.press("slow words" + ENTER)
    seat.until("words words")
    for columns in (50, 30, 70, 40):
        seat.resize(columns, 20)
        os.kill(seat.process, signal.SIGWINCH)
        seat.look(0.1)
    seat.until(seat.asks, CTRL_C)
    seat.say("long")
    lines = seat.screen.split("You: long\n")[-1].split("\n\n")[0].split("\n")
    assert " ".join(lines[-3:]).endswith("word end of it.") and 30 < max(map(len, lines)) <= 40


def test_ctrl_c_clears_the_line_which_the_arrow_brings_back_and_twice_ends(sit):
    seat = sit()
    for line in ("a red cir", "a blue squ"):  # something stood there: no step towards the end
        seat.until(f"You: {line}", line)
        seat.until(lambda: seat.screen.endswith(f"{ONCE_MORE}\nYou:"), CTRL_C)
    seat.until(lambda: seat.last == "You: a red cir", UP + UP)
    seat.until(lambda: seat.last == "You:", CTRL_C)
    seat.press(CTRL_C)
    assert seat.ended() == 0


def test_ctrl_c_stops_words_and_paintings_and_what_was_said_stays(sit):
    seat = sit()
    for said, sign in (("slow words", "words words"), ("slow picture", "painting")):
        seat.press(said + ENTER)
        seat.until(sign)
        seat.until(lambda: seat.screen.endswith("stopped\n\nYou:"), CTRL_C)
    seat.say("/history")
    assert "0: slow words\n   words words" in seat.screen and "1: slow picture\n   Wait." in seat.screen
    assert "I read 1 lines: still here" in seat.say("still here")
    seat.press("stubborn words" + ENTER)
    seat.until(lambda: seat.last == "stubborn")
    for _ in range(2):  # enough of it all
        seat.press(CTRL_C)
        seat.look(0.1)
    assert seat.ended() == 0
    assert [each.turn.text for each in kept(seat.folder)[-1].exchanges][:3] == [
        "slow words",
        "slow picture",
        "still here",
    ]


def test_ctrl_c_at_every_moment_of_an_answer_loses_nothing(sit):
    seat = sit(rows=40)
    for moment in range(12):
        seat.press("paced" + ENTER)
        time.sleep(0.03 * moment)
        seat.press(CTRL_C)
        seat.look(0.3)
        seat.say(f"hello {moment}")
    seat.press(CTRL_D)
    assert seat.ended() == 0 and b"Traceback" not in seat.raw and b"error" not in seat.raw
    (session,) = kept(seat.folder)
    pictures = [each for exchange in session.exchanges for each in exchange.paintings]
    assert len(pictures) == len(list((seat.folder / "outputs").iterdir()))
    said = [each.turn.text for each in session.exchanges]
    assert [text for text in said if text != "paced"] == [f"hello {moment}" for moment in range(12)]


def test_a_process_that_is_killed_has_kept_what_was_answered(sit):
    seat = sit()
    seat.say("circle")
    seat.press("slow picture" + ENTER)
    seat.until("painting")
    os.kill(seat.process, signal.SIGKILL)
    assert seat.ended() == -signal.SIGKILL
    (session,) = kept(seat.folder)
    assert [each.turn.text for each in session.exchanges] == ["circle"] and session.exchanges[0].paintings


def test_what_is_typed_during_an_answer_waits_for_its_end(sit):
    seat = sit()
    seat.press("slow picture" + ENTER)
    seat.until("painting")
    seat.press("and then?")
    seat.look(0.2)
    assert "and then?" not in seat.screen
    seat.until(lambda: seat.last == "You: and then?", CTRL_C)
    seat.press(CTRL_U + "slow words" + ENTER)
    seat.until("words words")
    seat.press(f"waiting{ENTER}two{ENTER}{pasted(f'pasted{ENTER}lines')}{ENTER}and a dra")
    seat.until(lambda: seat.last == "You: and a dra", CTRL_C)
    told = ("1 lines: waiting", "1 lines: two", "2 lines: pasted")
    assert all(f"I read {each}" in seat.screen for each in told)


def test_lines_of_an_earlier_session_come_back_and_are_nobody_elses(sit):
    first = sit()
    first.say("a message\x1b\rof two lines"), first.say("/set")
    first.press(CTRL_D)
    assert first.ended() == 0
    second = sit()
    second.until(lambda: second.last == "You: /set", UP)
    second.until(lambda: second.screen.endswith("You: a message\n     of two lines"), UP)
    assert stat.S_IMODE((second.folder / "state/llmga/chat-history").stat().st_mode) == 0o600


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_where_no_colours_are_wanted_there_are_none(sit, environment):
    seat = sit(**environment)
    assert "**bold**" in seat.say("markdown")
    written = seat.say("circle")
    assert f"[{PROMPT}]" in written and "saved outputs/000.png (seed 7)" in written and "\u2580" not in written
    assert not re.search(r"\x1b\[([\d;]*;)?[349]\d[\d;]*m", written)


def test_a_session_that_was_asked_for_is_the_place_where_it_is_kept(sit, tmp_path):
    seat = sit(session=str(tmp_path / "mine.zip"))
    seat.say("circle"), seat.say("/undo"), seat.say("/redo")
    assert len(load_session(tmp_path / "mine.zip").session.exchanges) == 1
    assert not (tmp_path / "state/llmga/conversations").exists()


@pytest.fixture
def program(tmp_path):
    """`program("chat", …)` is the true program at a terminal."""
    own = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | own

    def begin(*words):
        command = ["-m", "llmga", *words]
        return pexpect.spawn(sys.executable, command, env=environment, cwd=tmp_path, encoding="utf-8", timeout=300)

    return begin


def test_the_program_tells_what_it_loads_paints_and_says_where(program, tmp_path):
    child = program("chat", "--steps", "2", "--forget")
    for stage in (
        "the libraries",
        "the restorer",
        "the language model llmga-toy-mllm",
        "the painter llmga-toy-sdxl-t2i",
    ):
        child.expect_exact(f"loading {stage} ")
        child.expect(f"loaded {stage} in [0-9.]+ s")
    child.expect_exact("an empty line ends.")
    child.send("/set sampler\r")
    child.expect(r"sampler is [a-z+0-9-]+ \(default\)")  # what the checkpoint brings
    child.send("a red circle\r")
    child.expect_exact("saved outputs/000.png (seed ")
    child.expect_exact("You: ")
    child.send("\r")
    child.expect_exact("1 picture is in outputs: 000.png.")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0 and (tmp_path / "outputs/000.png").is_file()


def test_ctrl_c_while_it_loads_ends_it_at_once(program):
    child = program("chat")
    child.expect_exact("loading the libraries")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.signalstatus == signal.SIGINT or child.exitstatus == 130
    assert "Traceback" not in child.before
