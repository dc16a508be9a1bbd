"""The application in replicas of Ray Serve: the one of `llmga.serve.api.app`, around models that are elsewhere."""

import argparse
import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from PIL import Image

from llmga.assistant.fair_lock import FairLock
from llmga.assistant.loading import Models, load_words
from llmga.assistant.safety import Guard, open_guard
from llmga.diffusers.joining import batch_of
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.planner import Planner
from llmga.serve.api import logs
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.building import build_service
from llmga.serve.api.options import VARIABLE, ServerOptions, build_parser, server_options
from llmga.serve.api.prefix_cache import PrefixCache
from llmga.serve.api.server import assemble, audit_log
from llmga.serve.api.service import Service
from llmga.serve.cluster.calls import answer
from llmga.serve.cluster.gate import RemoteQueue
from llmga.serve.cluster.messages import PainterFacts, PlannerFacts
from llmga.serve.cluster.remote import RemotePipeline, RemotePrefixCache, RemoteRestorer
from llmga.serve.cluster.replicas import Words

PLACES = 10_000  # of the lock around a pipeline that has one in every replica


@dataclass(frozen=True)
class Flags:
    """The server's flags, from which every replica loads its own part; a `Source`."""

    argv: tuple[str, ...]

    @property
    def args(self) -> argparse.Namespace:
        """What the flags say."""
        return build_parser().parse_args(self.argv)

    @property
    def options(self) -> ServerOptions:
        """What they mean.

        Raises:
            UserError: they contradict each other.
        """
        options = server_options(self.args)
        return replace(options, spec=options.spec.filled())

    @property
    def plans_elsewhere(self) -> bool:
        """Whether a server of somebody else's plans, so that no replica does."""
        return isinstance(self.options.spec.mllm, Endpoint)

    def words(self) -> Words:
        """Load the language model."""
        options = self.options
        return Words(*load_words(options.spec), options.warm_chats)

    def painter(self) -> Models:
        """Load whatever is needed to paint; nothing that talks."""
        options = self.options
        models = Models.load(options.spec, words=(no_words, ()))
        return replace(models, batch=batch_of(models.pipeline, options.batch))


def no_words() -> Planner:
    """Raises: RuntimeError; a painter does not talk."""
    raise RuntimeError("a painter has no language model")


@dataclass(frozen=True)
class Backends:
    """The handles of the deployments behind the application, and what their replicas say of themselves.

    Attributes:
        planner: None where somebody else's server plans.
    """

    queue: Any
    painter: Any
    painter_facts: PainterFacts
    planner: Any = None
    planner_facts: PlannerFacts | None = None

    @classmethod
    async def ask(cls, queue: Any, painter: Any, planner: Any = None) -> "Backends":
        """Wait for one replica of each, which loads its model."""
        facts = await asyncio.gather(*(each.facts.remote() for each in (painter, planner) if each is not None))
        return cls(queue, painter, facts[0], planner, facts[1] if planner is not None else None)


def build_remote_service(options: ServerOptions, backends: Backends, beat: float | None = None) -> Service:
    """Everything that requests need, around models in replicas; blocking.

    Args:
        beat: seconds between two signs of life to the queue; None is the usual time.

    Raises:
        UserError: one answer may cost less than the settings want.
    """
    spec, painter, facts = options.spec, backends.painter, backends.painter_facts
    cache: PrefixCache
    if backends.planner_facts is None:
        new_chat, marks = load_words(spec)
        cache = PrefixCache(new_chat, options.warm_chats)
    else:
        cache, marks = RemotePrefixCache(backends.planner, backends.planner_facts), backends.planner_facts.marks
        new_chat = cache.new_chat
    models = Models(
        new_chat,
        RemotePipeline.of(painter, facts),  # type: ignore[arg-type]  # obeys the contract of one
        RemoteRestorer(painter, facts.restorer),
        (*marks, *facts.marks),
        _upscaler(painter, facts),
        replace(_guard(options), unsafe=_unsafe(painter) if facts.checks else None),
        FairLock(PLACES),
        bounds=spec.bounds,
    )
    timing = {} if beat is None else {"beat": beat}
    queue = RemoteQueue(backends.queue, options.at_once, options.queue, options.line, **timing)
    service = build_service(options, models, queue, cache)
    queue.figures, queue.ends = service.engine.metrics.text, service.scheduler.end
    return replace(service, figures=queue.all_figures)


def _upscaler(painter: Any, facts: PainterFacts) -> RemoteRestorer | None:
    """The painter's own; where it has none, one that stands for the rows that a request may choose."""
    scale = facts.upscale
    return RemoteRestorer(painter, f"diffrir-x{scale}" if scale else "none", None, scale or 1)


def _guard(options: ServerOptions) -> Guard:
    """What marks and signs pictures here; whether they are unsafe is seen where they are painted."""
    spec = options.spec
    return open_guard(None, spec.watermark, spec.device, spec.c2pa, spec.c2pa_prompt)


def _unsafe(painter: Any) -> Callable[[Image.Image], bool]:
    return lambda image: bool(answer(lambda: painter.unsafe.remote(image)))


class Ingress:
    """One replica of the application; `serve.ingress()` makes a deployment of it."""

    async def __init__(  # type: ignore[misc]  # Ray waits for it
        self, flags: Flags, queue: Any, painter: Any, planner: Any = None
    ) -> None:
        logs.configure()
        backends = await Backends.ask(queue, painter, planner)
        self.flags = flags
        self.service: Service = await asyncio.to_thread(build_remote_service, flags.options, backends)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application, as Serve asks for it."""
        args = self.flags.args
        keys = ApiKeys.read(args.api_keys_file, os.environ.get(VARIABLE), args.keys)
        if isinstance(self.service.scheduler.queue, RemoteQueue):
            self.service.scheduler.queue.start()
        return assemble(args, self.service, keys, audit_log(args))
