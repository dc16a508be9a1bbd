"""A true cluster of this machine: two planners, two painters, one application, started once for all tests."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
TRIES = 3  # Ray gives its own processes fifteen seconds, which a busy machine may not keep
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "150000000",
    "RAY_worker_niceness": "0",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "llmga.serve.cluster.door:guard",
    "LLMGA_DOOR": json.dumps({"max_connections_each": 24, "max_request": 1_000_000}),
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}


class Cluster:
    """The server as its clients see it.

    Attributes: process: below which all of it is.
    """

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve.cluster.running", str(self.port)], cwd=ROOT, env=os.environ | QUIET
        )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=240, trust_env=False)

    def is_up(self) -> bool:
        while self.process.poll() is None:
            try:
                if self.http.get("/health", timeout=5).status_code == 200:
                    return True
            except httpx.HTTPError:
                pass
            time.sleep(0.3)
        return False

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(90)

    def chat(self, *texts: str, **body: object) -> httpx.Response:
        """Texts of the user, and between them of the assistant."""
        messages = [
            {"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(texts)
        ]
        return self.http.post("/v1/chat/completions", json={"messages": messages, **body})

    def words(self, *texts: str) -> str:
        answer = self.chat(*texts)
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"]

    def colour(self, prompt: str) -> tuple[int, int, int]:
        body = {"model": "llmga-toy-sdxl-t2i", "prompt": prompt}
        answer = self.http.post("/v1/images/generations", json=body)
        assert answer.status_code == 200, answer.text
        return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))).getpixel((0, 0))

    def idle(self) -> None:
        until = time.monotonic() + 60
        while self.http.get("/health").json()["running"]:
            assert time.monotonic() < until
            time.sleep(0.1)

    def replicas(self, kind: str) -> list[int]:
        """Processes of a deployment that are children of our own."""
        found = []
        for place in Path("/proc").iterdir():
            try:
                title = (place / "cmdline").read_bytes().partition(b"\0")[0].decode()
                if title.startswith(f"ray::ServeReplica:llmga:{kind}") and self._is_ours(int(place.name)):
                    found.append(int(place.name))
            except (OSError, ValueError):
                continue
        return found

    def _is_ours(self, pid: int) -> bool:
        while pid > 1 and pid != self.process.pid:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return pid > 1


@pytest.fixture(scope="session")
def cluster():
    for _ in range(TRIES):
        made = Cluster()
        if made.is_up():
            yield made
            made.end()
            return
    pytest.fail("Ray did not start")


def test_words_and_pictures_come_from_both_of_their_replicas(cluster):
    planners = {cluster.words(f"process of {number}") for number in range(12)}
    with ThreadPoolExecutor(6) as clients:
        painters = set(clients.map(cluster.colour, ["the process"] * 12))
    assert len(planners) == len(painters) == 2


def test_a_conversation_stays_with_its_replica(cluster):
    said = ["process of anna"]
    for _ in range(4):
        said += [cluster.words(*said), "process"]
    assert len(set(said[1::2])) == 1


def test_a_stream_comes_piece_by_piece_with_its_progress(cluster):
    lines = cluster.chat("paint it red", stream=True).text.splitlines()
    assert [line for line in lines if line.startswith(": painting")] == [
        f": painting {step}/4" for step in (1, 2, 3, 4)
    ]
    assert lines[-2] == "data: [DONE]" or "data: [DONE]" in lines
    assert any('"images"' in line for line in lines)


def test_a_client_that_leaves_stops_its_replica(cluster):
    body = {"messages": [{"role": "user", "content": "paint it red"}], "stream": True}
    with cluster.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(line for line in answer.iter_lines() if line.startswith(": painting 1/"))
    cluster.idle()
    figures = cluster.http.get("/metrics").text.splitlines()
    late = next(float(line.split()[-1]) for line in figures if line.startswith("llmga_steps_after_leaving_sum "))
    assert late <= 1


def test_beyond_the_bound_clients_are_told_when_to_come_again(cluster):
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(cluster.chat, ["paint it blue"] * 16))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused) and len(refused) < 16
    cluster.idle()


def test_the_door_refuses_what_is_too_long_too_much_or_under_another_name(cluster):
    assert cluster.http.post("/v1/chat/completions", content=b" " * 1_000_001).status_code == 413
    assert cluster.http.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
    lines = [socket.create_connection(("127.0.0.1", cluster.port)) for _ in range(30)]
    lines[-1].settimeout(30)
    assert b" 429 " in lines[-1].recv(100)
    for line in lines:
        line.close()


@pytest.mark.parametrize("kind", ["Painter", "Planner"])
def test_requests_outlive_a_replica_that_is_killed(cluster, kind):
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(cluster.chat, f"paint {number} red") for number in range(8)]
        time.sleep(0.3)
        os.kill(cluster.replicas(kind)[0], signal.SIGKILL)
        for answer in answers:
            answer = answer.result()
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 200:
                assert len(answer.json()["choices"][0]["message"]["images"]) == 1
            else:
                assert "retry-after" in answer.headers


def test_where_the_application_is_killed_clients_are_told_to_come_again(cluster):
    with ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(cluster.chat, "paint it red") for _ in range(2)]
        time.sleep(0.2)
        os.kill(cluster.replicas("Ingress")[0], signal.SIGKILL)
        for answer in (each.result() for each in answers):
            assert answer.status_code == 200 or (answer.status_code == 503 and "retry-after" in answer.headers)
    assert cluster.words("hello") == "You said: hello "
