"""What all sessions share: the models that are loaded, and the list of those that can be chosen."""

from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from llmga.assistant.assistant import Assistant
from llmga.assistant.fair_lock import FairLock
from llmga.assistant.loading import Models
from llmga.assistant.record import ModelMark
from llmga.assistant.shared_pipeline import SharedPipeline
from llmga.diffrir.restorers import Restorer
from llmga.diffusers.batching import StepBatch
from llmga.diffusers.parts import PARTS
from llmga.diffusers.pipelines import Pipeline
from llmga.diffusers.single_file.checkpoint import is_single_file
from llmga.errors import UserError
from llmga.llava.loading import NewChat, open_planner
from llmga.serve.page.options import PageOptions


@dataclass(frozen=True)
class LanguageModel:
    """A language model: what makes a planner on it for each session, and what records say of it."""

    new_chat: NewChat
    mark: ModelMark


@dataclass(frozen=True)
class PictureModel:
    """A picture model, what records say of it, and lock and batch of whoever paints with it."""

    pipeline: Pipeline
    mark: ModelMark
    lock: FairLock
    batch: StepBatch | None = None


class ModelPool:
    """Models by name; one that is chosen for the first time is loaded, and stays.

    Args:
        options: how models are loaded, and which are offered beside the loaded ones.
        models: those that are loaded already.
    """

    def __init__(self, options: PageOptions, models: Models):
        self.options = options
        self.models = models
        marks = {mark.role: mark for mark in models.marks}
        language, picture = marks["language"], marks["painter"]
        self._language_models = {language.name: LanguageModel(models.new_chat, language)}
        self._picture_models = {picture.name: PictureModel(models.pipeline, picture, models.lock, models.batch)}
        self.first: tuple[str, str] = language.name, picture.name
        self._rest = tuple(mark for mark in models.marks if mark.role not in ("language", "painter"))
        self._loading = Lock()
        self._listed = self._look()

    @property
    def restorer(self) -> Restorer:
        """What is called after repainting."""
        return self.models.restorer

    def offered(self) -> tuple[list[str], list[str]]:
        """Names of language and of picture models, those of the command line first."""
        if self.options.mode == "reload":
            self._listed = self._look()
        languages, pictures = (
            list(dict.fromkeys([first, *more])) for first, more in zip(self.first, self._listed, strict=True)
        )
        return languages, pictures

    def assistant(self, language: str | None = None, picture: str | None = None) -> Assistant:
        """A fresh session with these models, or those of the command line.

        Args:
            language: name of the language model, as it is offered.
            picture: name of the pipeline, as it is offered.

        Raises:
            UserError: a model is not offered or cannot be opened.
        """
        languages, pictures = self.offered()
        language_name, picture_name = _of(language or self.first[0], languages), _of(picture or self.first[1], pictures)
        with self._loading:
            talks = self._language_model(language_name)
            paints = self._picture_model(picture_name)
        ours = picture_name == self.first[1]
        own = dict.fromkeys(("inpainter", "editor", *PARTS), ours)
        belongs = {"language base": language_name == self.first[0], **own}
        rest = [mark for mark in self._rest if belongs.get(mark.role, True)]
        marks = (talks.mark, paints.mark, *rest)
        pipeline = SharedPipeline.of(paints.pipeline, paints.lock, paints.batch)
        return self.models.around(talks.new_chat(), pipeline, self.options.settings, marks)

    def _look(self) -> tuple[list[str], list[str]]:
        directory = self.options.model_directory
        folders = sorted(path for path in directory.glob("*") if path.is_dir()) if directory else []
        pictures = [path.name for path in folders if (path / "model_index.json").is_file()]
        pictures += [path.name for path in sorted(directory.glob("*")) if is_single_file(path)] if directory else []
        languages = [path.name for path in folders if (path / "config.json").is_file() and path.name not in pictures]
        return languages, pictures

    def _language_model(self, name: str) -> LanguageModel:
        if name not in self._language_models:
            path = self._path(name)
            planner = open_planner(path, **self.options.spec.placement)
            self._language_models[name] = LanguageModel(planner, ModelMark.of("language", path))
        return self._language_models[name]

    def _picture_model(self, name: str) -> PictureModel:
        if name not in self._picture_models:
            path = self._path(name)
            pipeline = replace(self.options.spec, unet=None, vae=None).open_guided(path)
            self._picture_models[name] = PictureModel(pipeline, ModelMark.of("painter", path), FairLock())
        return self._picture_models[name]

    def _path(self, name: str) -> Path:
        assert self.options.model_directory is not None  # only what lies there is offered beside the loaded ones
        return self.options.model_directory / name


def _of(name: str, names: list[str]) -> str:
    """The name.

    Raises:
        UserError: it is not one of those that are offered.
    """
    if name not in names:
        raise UserError(f"model {name!r} is not offered here; choose one of: {', '.join(names)}.")
    return name
