"""The server of ours, as a process."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import openai
import pytest

import llmga
from tests.toys import toy, toy_pipeline_class  # noqa: F401  fixtures

ROOT = Path(llmga.__file__).resolve().parent.parent


class Server:
    """The command line, started; its log is kept."""

    def __init__(self, *argv, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llmga.serve.openai_api", "--port", "0", *argv],
            stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )  # fmt: skip
        self.log, self.ready = [], threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        assert self.ready.wait(120), self.log
        self.url = self.line("ready")["url"]

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)
            if '"event": "ready"' in line:
                self.ready.set()
        self.ready.set()

    def line(self, event):
        return next(json.loads(line) for line in self.log if f'"event": "{event}"' in line)

    def client(self, key):
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=120)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(60) == 0


@pytest.fixture(scope="session")
def server_class():
    return Server
