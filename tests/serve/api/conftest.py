"""The server around models that obey the contracts and answer at once."""

import argparse
import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from llmga.serve.api.app import build_app
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.building import build_service
from llmga.serve.api.options import build_parser, server_options
from llmga.serve.api.service import Service
from llmga.serve.cluster.gate import Gate
from llmga.serve.cluster.ingress import Backends, build_remote_service
from llmga.serve.cluster.replicas import PainterReplica, PlannerReplica
from tests.serve.cluster.flags import GIVEN
from tests.serve.handles import InProcess, loop
from tests.serve.plain import PlainSource, painter_of

ENGINES = ("process", "ray")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of the server runs on both engines, unless its mark `engines` says on which."""
    if "engine" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("engines")
        names, later = (mark.args, mark.kwargs.get("long", ())) if mark else (ENGINES, ())
        params = [*names, *(pytest.param(name, marks=pytest.mark.long) for name in later)]
        metafunc.parametrize("engine", params, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """What computes behind the application.

    process: this one.  ray: two planners and two painters of a true cluster, with its queue.  replicas: one of each and
    the queue, called as Ray calls them but in this process, where a test can look into them.
    """
    return request.param


@pytest.fixture
def service(engine: str, request: pytest.FixtureRequest) -> Callable[..., Service]:
    """`service("--queue", "1", …)` is everything that requests need; its painter is `painter_of(service)`."""

    def make(*argv: str) -> Service:
        args = build_parser().parse_args(argv)
        args.model_path, args.sdmodel_id = "/secret/place/echo", "/secret/place/plain"
        options, source = server_options(args), PlainSource()
        if engine == "process":
            return build_service(options, source.painter())
        if engine == "ray":
            return request.getfixturevalue("ray_cluster").service(options)
        gate = Gate(options.at_once, options.queue, options.line)
        painter, planner = PainterReplica(source), PlannerReplica(source)
        asked = Backends.ask(InProcess(gate), InProcess(painter), InProcess(planner))
        backends = asyncio.run_coroutine_threadsafe(asked, loop()).result()
        return build_remote_service(options, backends, beat=0.02)

    return make


@pytest.fixture
def reached(
    engine: str, service: Callable[..., Service], request: pytest.FixtureRequest
) -> Iterator[Callable[..., httpx.Client]]:
    """`reached("--max-json-mb", "0.1", keys=[…])` is a client of an application on this machine.

    On Ray it is that of the cluster, behind Serve's proxy, where that has these flags: it has those of `GIVEN`, no
    keys, and answers under names of this machine only.
    """
    with ExitStack() as opened:

        def reach(*argv: str, keys: Sequence[str] = (), local: bool = False) -> httpx.Client:
            if engine == "ray" and not keys and set(argv) <= set(GIVEN):
                cluster = request.getfixturevalue("ray_cluster")
                cluster.board()
                return opened.enter_context(cluster.client())
            app = build_app(service(*argv), ApiKeys(keys), local=local)
            return opened.enter_context(TestClient(app, base_url="http://127.0.0.1"))

        yield reach


class Running:
    """A server in a thread.

    Attributes:
        url: of its root.  `painter`: its painter.
    """

    def __init__(self, service: Service, keys: ApiKeys, beside: Callable[[FastAPI, Service], None] | None = None):
        self.service, self.painter = service, painter_of(service)
        app = build_app(service, keys)
        if beside is not None:
            beside(app, service)
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def chat(self, text: str, **body: object) -> httpx.Response:
        return self.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": text}], **body})

    def figure(self, name: str) -> float:
        """A line of /metrics."""
        lines = self.http.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))

    def wait(self, met: Callable[[], object], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < until, "it did not come to that"
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.http.close()


@pytest.fixture
def running(service) -> Iterator[Callable[..., Running]]:
    """`running("--queue", "1", keys=[…])` is a running server; `beside(app, service)` adds to it."""
    servers = []

    def start(*argv: str, keys: tuple[str, ...] = (), beside: object = None, store: object = None) -> Running:
        servers.append(Running(service(*argv), ApiKeys(keys, store), beside))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def options() -> argparse.Namespace:
    return build_parser().parse_args([])
