"""The server's flags, with plain models in place of those that they name; replicas import this by its name."""

from dataclasses import dataclass
from pathlib import Path

from llmga.assistant.loading import Models
from llmga.serve.cluster.ingress import Flags
from llmga.serve.cluster.replicas import Words
from tests.serve.plain import PlainSource

GIVEN = ("--at-once", "6", "--queue", "2", "--max-request-mb", "1", "--max-json-mb", "0.1", "--no-watermark",
         "--model-path", "/secret/place/echo", "--sdmodel_id", "/secret/place/plain")  # fmt: skip


@dataclass(frozen=True)
class PlainFlags(Flags):
    """Attributes: boards: the folder in which painters note what they are asked."""

    boards: Path = Path()

    def words(self) -> Words:
        return PlainSource().words()

    def painter(self) -> Models:
        return PlainSource(self.boards).painter()
