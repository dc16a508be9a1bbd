"""Traces (OpenTelemetry): one for each request, from its arrival to every denoising step.

Nothing that people say or show stands in them: names, times, numbers of steps, and what became of the request.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from llmga.assistant.events import AssistantEvent, Denoising, PictureReady, PromptFound
from llmga.errors import UserError
from llmga.extras import require

SERVICE = "llmga"


class Tracing:
    """What makes spans; without an exporter it makes none, and costs nothing.

    Args:
        exporter: An OpenTelemetry span exporter; None traces nothing.
    """

    def __init__(self, exporter: Any = None):
        self._tracer, self._provider = None, None
        if exporter is not None:
            sdk, export = (
                require("opentelemetry.sdk.trace", "--otel"),
                require("opentelemetry.sdk.trace.export", "--otel"),
            )
            resources = require("opentelemetry.sdk.resources", "--otel")
            self._provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": SERVICE}))
            self._provider.add_span_processor(export.BatchSpanProcessor(exporter))
            self._tracer = self._provider.get_tracer(SERVICE)

    @classmethod
    def to(cls, url: str | None) -> "Tracing":
        """Spans sent by OTLP over HTTP.

        Args:
            url: Of a collector, such as http://localhost:4318; None traces nothing.

        Raises:
            UserError: It is no address, or the packages of the extra `otel` are not installed.
        """
        if url is None:
            return cls()
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"--otel {url!r} is no address; give one such as http://localhost:4318.")
        otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "--otel")
        return cls(otlp.OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces"))

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator[Any]:
        """The span of a request, a part of the caller's trace where it sends `traceparent`; None where none is made."""
        if self._tracer is None:
            yield None
            return
        propagation = require("opentelemetry.propagate", "--otel")
        kind = require("opentelemetry.trace", "--otel").SpanKind.SERVER
        with self._tracer.start_as_current_span("request", propagation.extract(dict(headers)), kind) as span:
            yield span

    def span(self, name: str) -> AbstractContextManager[Any]:
        """A part of the span at hand, as long as the context lasts."""
        return nullcontext() if self._tracer is None else self._tracer.start_as_current_span(name)

    def begun(self, name: str, parent: Any = None, start: int | None = None) -> Any:
        """A span that `end` ends; None where none is made.

        Args:
            parent: Of which it is a part; None: of the one at hand.
            start: Nanoseconds of Unix time; None is now.
        """
        if self._tracer is None:
            return None
        context = None if parent is None else require("opentelemetry.trace", "--otel").set_span_in_context(parent)
        return self._tracer.start_span(name, context, start_time=start)

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


class TurnSpans:
    """The spans of one turn, of its events as they come: words, each picture, and the picture's steps."""

    def __init__(self, tracing: Tracing):
        self._tracing = tracing
        self._words = tracing.begun("words")
        self._picture: Any = None
        self._since = time.time_ns()  # when the step at hand began

    def record(self, event: AssistantEvent) -> None:
        """Take note of an event."""
        if self._words is None and self._picture is None:
            return
        if isinstance(event, PromptFound):
            self.end()
            self._picture, self._since = self._tracing.begun("picture"), time.time_ns()
        elif isinstance(event, Denoising) and self._picture is not None and event.step:
            step = self._tracing.begun("denoising step", self._picture, self._since)
            step.set_attributes({"llmga.step": event.step, "llmga.steps": event.total})
            self._since = time.time_ns()
            step.end(self._since)
        elif isinstance(event, PictureReady):
            self.end()
            self._words = self._tracing.begun("words")

    def end(self) -> None:
        """End what is open."""
        for span in (self._words, self._picture):
            if span is not None:
                span.end()
        self._words = self._picture = None
