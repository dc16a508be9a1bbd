"""The server around models that obey the contracts and answer at once."""

import argparse
import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

from llmga.assistant.loading import Models
from llmga.compositing import paste_back
from llmga.diffrir.restorers import RESTORERS
from llmga.errors import UserError
from llmga.llava.planner import Planner
from llmga.serve.api.app import build_app
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.building import build_service
from llmga.serve.api.options import build_parser, server_options
from llmga.serve.api.service import Service

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


class EchoPlanner(Planner):
    """Says the mean colour of a picture that it is shown, paints what it is told to, and repeats anything else."""

    steers = True

    def _answer(self, asked, sampling, cancelled):
        last = asked.messages[-1]
        self.ended_by = "marker"
        for piece in self._reply(last, sampling, asked).split(" "):
            if cancelled():
                self.ended_by = "caller"
                return
            yield piece + " "

    def _reply(self, last, sampling, asked):
        if "history" in last.text:
            told = " | ".join(message.text for message in asked.messages[:-1])
            return told.replace("<", "{").replace(">", "}")
        if "system" in last.text:
            return str(asked.system)
        if last.images and sampling.picture == "auto":
            return " ".join("{} {} {}".format(*colour_of(image)) for image in last.images)
        if sampling.picture == "always" or "paint" in last.text:
            return f"Gladly. <gen_image> {last.text} </gen_image> There."
        return f"You said: {last.text}"


def colour_of(image):
    return np.asarray(image.convert("RGB")).reshape(-1, 3).mean(0).round().astype(int)


class PlainPainter:
    """Paints the first colour that the prompt names; where there is a mask, only there.

    Attributes:
        pace: seconds of a step.  `started`: set when a step is begun.  `done`: how many steps were finished.
    """

    total = 4
    path = "/secret/place/plain"

    def __init__(self):
        self.pace, self.done, self.calls = 0.0, 0, []
        self.started = threading.Event()

    def __call__(
        self,
        prompt,
        image=None,
        mask=None,
        *,
        seed=0,
        size=None,
        on_step=None,
        on_preview=None,
        restore=None,
        **options,
    ):
        self.calls.append({"prompt": prompt, "image": image, "mask": mask, "seed": seed, "size": size} | options)
        if "forbidden" in prompt:
            raise UserError(f"{self.path!r} does not paint this forbidden prompt (--size 8); ask for another.")
        if "broken" in prompt:
            raise RuntimeError("the secret inside")
        for step in range(1, self.total + 1):
            self.started.set()
            time.sleep(self.pace)
            self.done += 1
            if on_preview is not None:
                on_preview(step, Image.new("RGB", (4, 4)))
            on_step(step, self.total)
        named = next((rgb for name, rgb in COLOURS.items() if name in prompt), (9, 9, 9))
        painted = Image.new("RGB", size or (image.size if image else (16, 8)), named)
        return painted if mask is None else paste_back(image, restore(painted, image, mask), mask)

    def use_sampler(self, name=None):
        pass

    def report(self, prompt):
        return ""

    def describe(self, **given):
        own = {"family": "plain", "sampler": "Plain", "steps": self.total, "guidance_scale": 2.5}
        return own | {name: value for name, value in given.items() if value is not None}


@pytest.fixture
def service() -> Callable[..., Service]:
    """`service("--queue", "1", …)` is everything that requests need; its painter is `service.painter`."""

    def make(*argv: str) -> Service:
        args = build_parser().parse_args(argv)
        args.model_path, args.sdmodel_id = "/secret/place/echo", "/secret/place/plain"
        painter = PlainPainter()
        return build_service(server_options(args), Models(EchoPlanner, painter, RESTORERS["none"], ()))

    return make


class Running:
    """A server in a thread.

    Attributes:
        url: of its root.  `painter`: its painter.
    """

    def __init__(self, service: Service, keys: ApiKeys, beside: Callable[[FastAPI, Service], None] | None = None):
        self.service, self.painter = service, service.engine.models.pipeline
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
