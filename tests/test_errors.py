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


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.default_int_handler])
def test_ctrl_c_in_a_command_line_is_told_and_130(before, capsys):
    usual = signal.signal(signal.SIGINT, before)
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
