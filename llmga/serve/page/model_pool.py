"""What all visits share: the models that are loaded, and the list of those that can be chosen."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from llmga.assistant.assistant import Assistant
from llmga.assistant.loading import Models
from llmga.assistant.record import ModelMark
from llmga.assistant.shared_pipeline import FairLock, SharedPipeline
from llmga.diffrir.restorers import Restorer
from llmga.diffusers.pipelines import Pipeline
from llmga.errors import UserError
from llmga.llava.loading import NewChat, open_planner
from llmga.serve.page.options import PageOptions


@dataclass(frozen=True)
class Words:
    """A language model."""

    new_chat: NewChat
    mark: ModelMark


@dataclass(frozen=True)
class Paint:
    """A picture model, and the lock that is taken to paint with it."""

    pipeline: Pipeline
    mark: ModelMark
    lock: FairLock


class ModelPool:
    """Models by name; one that is chosen for the first time is loaded, and stays.

    Args:
        options: how models are loaded, and which are offered beside the loaded ones.
        models: those that are loaded already.
    """

    def __init__(self, options: PageOptions, models: Models):
        self.options, self.models = options, models
        marks = {mark.role: mark for mark in models.marks}
        self.words = {marks["language"].name: Words(models.new_chat, marks["language"])}
        self.paints = {marks["painter"].name: Paint(models.pipeline, marks["painter"], models.lock)}
        self.first = marks["language"].name, marks["painter"].name
        self._rest = tuple(mark for mark in models.marks if mark.role not in ("language", "painter"))
        self._loading = Lock()
        self._listed = self._look()

    @property
    def restorer(self) -> Restorer:
        return self.models.restorer

    def offered(self) -> tuple[list[str], list[str]]:
        """Names of language and of picture models, those of the command line first."""
        if self.options.mode == "reload":
            self._listed = self._look()
        return tuple(list(dict.fromkeys([first, *more])) for first, more in zip(self.first, self._listed, strict=True))

    def assistant(self, words: str | None = None, paint: str | None = None) -> Assistant:
        """A fresh session with these models, or those of the command line.

        Raises: UserError for a model that is not offered or cannot be opened.
        """
        chosen = [name or first for name, first in zip((words, paint), self.first, strict=True)]
        for name, names in zip(chosen, self.offered(), strict=True):
            if name not in names:
                raise UserError(f"model {name!r} is not offered here; choose one of: {', '.join(names)}.")
        with self._loading:
            talks = self._opened(self.words, chosen[0], self._words)
            paints = self._opened(self.paints, chosen[1], self._paint)
        belongs = {"language base": chosen[0] == self.first[0], "inpainter": chosen[1] == self.first[1]}
        rest = [mark for mark in self._rest if belongs.get(mark.role, True)]
        marks = (talks.mark, paints.mark, *rest)
        brush = SharedPipeline.of(paints.pipeline, paints.lock)
        return self.models.around(talks.new_chat(), brush, self.options.settings, marks)

    def _look(self) -> tuple[list[str], list[str]]:
        directory = self.options.model_directory
        folders = sorted(path for path in directory.glob("*") if path.is_dir()) if directory else []
        paints = [path.name for path in folders if (path / "model_index.json").is_file()]
        return [path.name for path in folders if (path / "config.json").is_file() and path.name not in paints], paints

    @staticmethod
    def _opened(known: dict, name: str, load: Callable[[str], Words | Paint]) -> Words | Paint:
        if name not in known:
            known[name] = load(name)
        return known[name]

    def _words(self, name: str) -> Words:
        path = self._place(name)
        return Words(open_planner(path, **self.options.spec.placement), ModelMark.of("language", path))

    def _paint(self, name: str) -> Paint:
        path = self._place(name)
        return Paint(self.options.spec.open_guided(path), ModelMark.of("painter", path), FairLock())

    def _place(self, name: str) -> Path:
        assert self.options.model_directory is not None  # only what lies there is offered beside the loaded ones
        return self.options.model_directory / name
