"""What a command line does when it cannot go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmga.errors import UserError, command_line

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(sys.platform == "win32", reason="ends by signals are of POSIX")
def test_ctrl_c_while_a_command_line_imports_ends_it_without_a_traceback(tmp_path):
    (tmp_path / "torch.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    command = [sys.executable, "-m", "llmga.serve.cli2-sdxl"]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_another_program_keeps_its_own_ctrl_c(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/__init__.py").write_text("import llmga\n")
    (tmp_path / "other/__main__.py").write_text("import signal\nprint(signal.getsignal(signal.SIGINT))\n")
    command, paths = [sys.executable, "-m", "other"], os.pathsep.join((str(tmp_path), str(ROOT)))
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=60)
    assert "default_int_handler" in ended.stdout


def test_ctrl_c_in_a_command_line_is_told_and_130(capsys):
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert command_line(lambda argv: signal.raise_signal(signal.SIGINT) or 0)(None) == 130
    finally:
        signal.signal(signal.SIGINT, usual)
    assert capsys.readouterr().err == "stopped\n"


def test_a_mistake_is_one_sentence_and_2(capsys):
    def mistaken(argv):
        raise UserError("the size is 63; use 64.")

    assert command_line(mistaken)(None) == 2
    assert capsys.readouterr().err == "error: the size is 63; use 64.\n"


REFUSED = [PermissionError(13, "Permission denied", "/secret/a"), OSError(36, "Too long", "a" * 300)]


@pytest.mark.parametrize("problem", REFUSED)
def test_a_place_that_cannot_be_looked_at_is_a_mistake(problem, capsys):
    def looking(argv):
        raise problem

    assert command_line(looking)(None) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {problem.filename!r} cannot be used (") and shown.count("\n") == 1


def test_a_full_disk_is_told(capsys):
    def writing(argv):
        raise OSError(28, "No space left on device")

    assert command_line(writing)(None) == 2
    assert capsys.readouterr().err.startswith("error: there is no space left")


def test_a_file_of_ours_that_is_missing_stays_a_defect():
    def looking(argv):
        raise FileNotFoundError(2, "No such file or directory", "config.json")

    with pytest.raises(FileNotFoundError):
        command_line(looking)(None)
