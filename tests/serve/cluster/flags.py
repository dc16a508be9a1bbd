"""The server's flags, with plain models in place of those that they name; replicas import this by its name."""

from dataclasses import dataclass

from llmga.assistant.loading import Models
from llmga.serve.cluster.ingress import Flags
from llmga.serve.cluster.replicas import Words
from tests.serve.plain import PlainSource


@dataclass(frozen=True)
class PlainFlags(Flags):
    """Attributes: pace: seconds of a step of the painter."""

    pace: float = 0.0

    def words(self) -> Words:
        return PlainSource().words()

    def painter(self) -> Models:
        return PlainSource(self.pace).painter()
