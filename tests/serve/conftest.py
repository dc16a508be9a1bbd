"""The server of ours, as a process, and on a cluster of this machine."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

import llmga
from tests.serve.cluster.started import Cluster
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


TRIES = 3  # Ray gives its own processes fifteen seconds, which a busy machine may not keep


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two planners, two painters and an application of plain models, started once for all tests."""
    pytest.importorskip("ray")
    for _ in range(TRIES):
        made = Cluster(tmp_path_factory.mktemp("cluster"))
        if made.is_up():
            yield made
            made.end()
            return
    pytest.fail(f"Ray did not start: {made.log.read_text()[-3000:]}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the cluster comes first, so that of several processes of a run one starts it, and the others none."""
    items.sort(key=lambda item: not needs_cluster(item))


def needs_cluster(item: pytest.Item) -> bool:
    engine = getattr(item, "callspec", None) and item.callspec.params.get("engine")
    return engine == "ray" or "ray_cluster" in getattr(item, "fixturenames", ())
