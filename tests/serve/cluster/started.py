"""A true cluster of this machine: two planners, two painters, one application and its queue."""

import asyncio
import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from llmga.serve.api.options import ServerOptions
from llmga.serve.api.service import Service
from llmga.serve.cluster.ingress import Backends, build_remote_service
from tests.serve.boards import FolderBoard, begin
from tests.serve.cluster.doors import VARIABLE, TriedDoor
from tests.serve.cluster.gates import RenewedGate
from tests.serve.handles import loop
from tests.serve.plain import Noted

ROOT = Path(__file__).resolve().parents[3]
BEAT = 0.1  # seconds; for other processes more than for this one
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "150000000",
    "RAY_worker_niceness": "0",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "tests.serve.cluster.doors:guard",
    "LLMGA_DOOR": json.dumps({"max_connections_each": 24, "max_request": 1_000_000}),
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}


class Cluster:
    """The server as its clients see it, and its replicas as an application in this process does.

    Args:
        folder: for what its processes write.

    Attributes:
        process: below which all of it is.
        boards: see `PlainPainter`.  `door`: of its proxy.
    """

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.boards, self.log = folder / "boards", folder / "log"
        self.door = TriedDoor(folder / "door")
        self.door.folder.mkdir()
        begin(self.boards)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.serve.cluster.running", str(self.port), str(self.boards)],
                cwd=ROOT, env=os.environ | QUIET | {VARIABLE: str(self.door.folder)}, stderr=log, stdout=log,
            )  # fmt: skip
        self.http = self.client()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=240, trust_env=False, headers=headers)

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
        """Ask it to end while a picture is painted; it is finished, and nothing new is begun."""
        if "handles" in self.__dict__:
            import ray

            ray.shutdown()
        self.idle()
        self.board(pace=1.0)
        with ThreadPoolExecutor(1) as clients:
            painted = clients.submit(self.chat, "paint it red")
            self.until(lambda health: health["running"] == 1)
            self.process.terminate()
            self.until(lambda health: health["status"] == "closing")
            refused = self.chat("hello")
            assert refused.status_code == 503 and "retry-after" in refused.headers, refused.text
            assert painted.result().status_code == 200, painted.result().text
            assert len(painted.result().json()["choices"][0]["message"]["images"]) == 1
        self.http.close()
        assert self.process.wait(90) == 0, self.log.read_text()[-3000:]

    def board(self, pace: float = 0.0) -> FolderBoard:
        """A new board for its painters."""
        made = begin(self.boards)
        made.pace = pace
        return made

    # As an application in this process sees it.

    @cached_property
    def handles(self) -> tuple[Any, Backends]:
        """The queue of the tests, and all that is behind an application; connects to the cluster."""
        with warnings.catch_warnings(action="ignore"):  # of its own settings, and not ours to mend
            import ray
            from ray import serve

        ray.init(self._address(), namespace="serve", log_to_driver=False, configure_logging=False)
        options = {"max_ongoing_requests": 1000, "ray_actor_options": {"num_cpus": 0.01, "num_gpus": 0}}
        gate = serve.run(serve.deployment(RenewedGate, name="Gate", **options).bind(), name="gate", route_prefix=None)
        painter, planner = (serve.get_deployment_handle(name, "llmga") for name in ("Painter", "Planner"))
        return gate, asyncio.run_coroutine_threadsafe(Backends.ask(gate, painter, planner), loop()).result(120)

    def _address(self) -> str:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for line in self.log.read_text().splitlines():
                if '"event": "ready"' in line:
                    return str(json.loads(line)["ray"])
            time.sleep(0.1)
        raise TimeoutError(self.log.read_text())

    def service(self, options: ServerOptions) -> Service:
        """Everything that requests of an application in this process need, around the replicas."""
        gate, asked = self.handles
        gate.renew.remote(options.at_once, options.queue, options.line).result()
        noted = Noted(asked.painter, self.board())
        backends = Backends(gate, noted, asked.painter_facts, asked.planner, asked.planner_facts)
        return build_remote_service(options, backends, beat=BEAT)

    # As its clients see it.

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
        answer = self.http.post("/v1/images/generations", json={"model": "plain", "prompt": prompt})
        assert answer.status_code == 200, answer.text
        return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))).getpixel((0, 0))

    def idle(self) -> None:
        self.until(lambda health: not health["running"])

    def until(self, true: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for what /health tells."""
        late = time.monotonic() + 60
        while not true(health := self.http.get("/health").json()):
            assert time.monotonic() < late, health
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
