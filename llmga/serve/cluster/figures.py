"""The figures of all replicas of the application, as one text for Prometheus."""

from collections.abc import Iterable, Mapping

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

OF_ALL = frozenset(f"llmga_{name}" for name in ("running", "aside", "waiting", "waiting_most", "waiting_bound"))


class Together(Collector):
    """Figures of several applications; each bears whose it is as its label `replica`.

    Those of the queue, which is one for all, come from the one that is asked.

    Args:
        texts: what each tells, by its name.
        asked: the name of the one that is asked.
    """

    def __init__(self, texts: Mapping[str, str], asked: str):
        self.texts, self.asked = texts, asked

    def collect(self) -> Iterable[Metric]:
        """Return the metrics, of which one has the samples of all."""
        found: dict[str, Metric] = {}
        for replica, text in sorted(self.texts.items()):
            for family in text_string_to_metric_families(text):
                metric = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                shared = family.name in OF_ALL
                for sample in family.samples if not shared or replica == self.asked else ():
                    whose = {} if shared else {"replica": replica}
                    metric.add_sample(sample.name, {**sample.labels, **whose}, sample.value)
        return found.values()


def together(texts: Mapping[str, str], asked: str) -> bytes:
    """Return the figures in Prometheus' own format; see `Together`."""
    return generate_latest(Together(texts, asked))
