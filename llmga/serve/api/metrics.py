"""Figures for Prometheus."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from llmga.serve.api.fair_queue import FairQueue

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True)
class ModelLabels:
    """What figures call the models that are at work."""

    language: str = ""
    painter: str = ""


class Metrics:
    """The Prometheus metrics of one server, in a registry of its own.

    Attributes:
        refused: Counts requests that were over a limit of their key.
        unsettled: Counts requests after which a quota could not be corrected to what was used.
        prefixes: Counts conversations whose beginning had been read already (`hit`), and others (`miss`).
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
            registry, "llmga_request_seconds", "From a request to the end of its answer.", ("route", "model")
        )
        self.queued_seconds: Histogram = _histogram(registry, "llmga_queued_seconds", "In the queue.")
        self.first_word_seconds: Histogram = _histogram(
            registry, "llmga_first_word_seconds", "From the start of work to a word.", ("model",)
        )
        self.picture_seconds: Histogram = _histogram(
            registry, "llmga_picture_seconds", "From a prompt to its picture.", ("model",)
        )
        self.pictures: Counter = Counter("llmga_pictures", "Pictures painted.", ("model",), registry=registry)
        self.steps: Counter = Counter("llmga_steps", "Denoising steps done.", ("model",), registry=registry)
        self.prefixes: Counter = Counter(
            "llmga_prefix_cache", "Conversations, by whether their beginning was read before.", ("result",),
            registry=registry,
        )  # fmt: skip
        for result in ("hit", "miss"):
            self.prefixes.labels(result)  # so that both are shown from the start
        self.refused: Counter = Counter(
            "llmga_over_quota", "Requests refused for a limit of their key.", ("limit",), registry=registry
        )
        self.unsettled: Counter = Counter(
            "llmga_quotas_unsettled", "Requests charged for more, or less, than they used.", registry=registry
        )
        self.swaps: Counter = Counter(
            "llmga_model_swaps", "Orders to load other models.", ("result",), registry=registry
        )
        self.disconnects: Counter = Counter(
            "llmga_clients_left", "Requests whose client left before the end.", registry=registry
        )
        self.steps_after_disconnect: Histogram = _histogram(
            registry, "llmga_steps_after_leaving", "Steps finished after the client left.", buckets=(0, 1, 2, 5)
        )
        self.watch("llmga_waiting", "Requests in the queue.", lambda: queue.waiting)
        self.watch("llmga_waiting_most", "The most that were in the queue at once.", lambda: queue.most_waiting)
        self.watch("llmga_waiting_bound", "The most that may be in the queue.", lambda: queue.bound)
        self.watch("llmga_running", "Requests at work.", lambda: queue.running)
        self.watch("llmga_aside", "Of those, the ones whose words wait for a picture.", lambda: queue.aside)

    def watch(self, name: str, text: str, ask: Callable[[], float]) -> None:
        """Show a figure that is asked for each time."""
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
