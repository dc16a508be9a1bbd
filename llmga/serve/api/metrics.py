"""Figures for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from llmga.serve.api.fair_queue import FairQueue

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The Prometheus metrics of one server, in a registry of its own.

    Attributes:
        disconnects: Counts requests whose client left before the end.
        steps_after_disconnect: Of each request whose client left while a picture was painted, how many steps were
            still finished.  Above 1, work went on for nobody.
    """

    def __init__(self, queue: FairQueue):
        self.registry: CollectorRegistry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        self.requests: Counter = Counter(
            "llmga_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self.seconds: Histogram = _histogram(
            registry, "llmga_request_seconds", "From a request to the end of its answer.", ("route",)
        )
        self.queued_seconds: Histogram = _histogram(registry, "llmga_queued_seconds", "In the queue.")
        self.first_word_seconds: Histogram = _histogram(
            registry, "llmga_first_word_seconds", "From the start of work to a word."
        )
        self.picture_seconds: Histogram = _histogram(registry, "llmga_picture_seconds", "From a prompt to its picture.")
        self.pictures: Counter = Counter("llmga_pictures", "Pictures painted.", registry=registry)
        self.steps: Counter = Counter("llmga_steps", "Denoising steps done.", registry=registry)
        self.disconnects: Counter = Counter(
            "llmga_clients_left", "Requests whose client left before the end.", registry=registry
        )
        self.steps_after_disconnect: Histogram = _histogram(
            registry, "llmga_steps_after_leaving", "Steps finished after the client left.", buckets=(0, 1, 2, 5)
        )
        self._gauge("llmga_waiting", "Requests in the queue.", lambda: queue.waiting)
        self._gauge("llmga_waiting_most", "The most that were in the queue at once.", lambda: queue.most_waiting)
        self._gauge("llmga_waiting_bound", "The most that may be in the queue.", lambda: queue.bound)
        self._gauge("llmga_running", "Requests at work.", lambda: queue.running)
        self._gauge("llmga_aside", "Of those, the ones whose words wait for a picture.", lambda: queue.aside)

    def _gauge(self, name: str, text: str, ask: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(ask)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' own format."""
        return generate_latest(self.registry)


def _histogram(
    registry: CollectorRegistry,
    name: str,
    text: str,
    labels: tuple[str, ...] = (),
    buckets: tuple[float, ...] = SECONDS,
) -> Histogram:
    return Histogram(name, text, labels, buckets=buckets, registry=registry)
