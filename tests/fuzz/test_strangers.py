"""Whatever strangers send is read, or refused with words, in little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import llmga

ROOT = Path(llmga.__file__).resolve().parent.parent
CASES = 20_000  # scripts/fuzz.sh reads as many as it is told to, five times as many by default
MOST_MEMORY = 300_000_000  # bytes by which the process may grow


@pytest.mark.slow
def test_altered_files_by_the_thousand_are_read_or_refused():
    command = [sys.executable, "tests/fuzz/strangers.py", "--cases", str(CASES)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["findings"] == []
    assert told["cases"] == CASES and CASES / 2 < told["refused"] < CASES
    assert told["grown"] < MOST_MEMORY
