"""What is loaded once and serves any number of sessions."""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.bounds import UNBOUNDED, Bounds
from llmga.assistant.record import ModelMark
from llmga.assistant.safety import NO_GUARD, Guard, open_guard
from llmga.assistant.session import Settings
from llmga.assistant.shared_pipeline import FairLock
from llmga.diffrir.checkpoints import default_path
from llmga.diffrir.restorers import RESTORERS, Restorer, Weighted, open_restorer
from llmga.diffusers.adapters import add_loras
from llmga.diffusers.checkpoints import find_checkpoint
from llmga.diffusers.families import INPAINTING
from llmga.diffusers.pipelines import Pipeline, load_pipeline
from llmga.errors import UserError
from llmga.llava import paths
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.opening import NewChat, open_planner
from llmga.llava.planner import Planner
from llmga.serve import args as flags

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """Everything that an assistant works with.

    Attributes:
        restorer: of scale 1, for the repainted parts of pictures.
        marks: what records say of the models.
        upscaler: of scale 2 or 4; None where none was asked for.
        guard: what every picture passes before anybody sees it.
        turns: taken by whoever paints with the pipeline.
        bounds: what one answer may cost.
    """

    new_chat: NewChat
    pipeline: Pipeline
    restorer: Restorer
    marks: tuple[ModelMark, ...]
    upscaler: Restorer | None = None
    guard: Guard = NO_GUARD
    turns: FairLock = field(default_factory=FairLock)
    bounds: Bounds = UNBOUNDED

    @classmethod
    def load(cls, args: argparse.Namespace) -> "Models":
        """Raises: UserError when a folder lacks something."""
        finish = {"restorer": _weights(args.restorer, args.restorer_path)}
        if args.upscale is not None:
            finish["upscaler"] = _weights(f"diffrir-x{args.upscale}", args.upscaler_path)
        restorers = {role: open_restorer(name, path, args.device) for role, (name, path) in finish.items()}
        if (scale := getattr(restorers["restorer"], "scale", 1)) != 1:
            raise UserError(f"the restorer in {args.restorer_path!r} enlarges {scale} times; give it as --upscale "
                            f"{scale} --upscaler-path.")  # fmt: skip
        asked = vars(args)  # where nobody but its user sees a picture, no guard is offered
        guard = open_guard(asked.get("safety_checker"), asked.get("watermark"), args.device)
        folder = find_checkpoint(args.sdmodel_id)
        words = args.model_path if isinstance(args.model_path, Endpoint) else paths.find_checkpoint(args.model_path)
        base = paths.find_checkpoint(args.model_base) if args.model_base is not None else None
        new_chat = open_planner(words, base, conv_mode=args.conv_mode, **flags.place_words(args))
        pipeline = load_pipeline(folder, **flags.painter_options(args))
        flags.guide(pipeline, args)
        parts = {"language": words, "language base": base, "painter": folder}
        if args.inpainter is not None:
            parts["inpainter"] = find_checkpoint(args.inpainter)
            pipeline.partners[INPAINTING] = _inpainter(parts["inpainter"], args)
        parts |= {role: path for role, (_, path) in finish.items()}
        marks = tuple(ModelMark.of(role, path) for role, path in parts.items() if path is not None)
        return cls(new_chat, pipeline, restorers["restorer"], marks, restorers.get("upscaler"), guard)

    def assistant(self, args: argparse.Namespace) -> Assistant:
        """A fresh session."""
        return self.around(self.new_chat(), self.pipeline, flags.settings(args), self.marks)

    def around(
        self, chat: Planner, pipeline: Callable[..., Image.Image], settings: Settings, marks: Sequence[ModelMark]
    ) -> Assistant:
        """An assistant with this chat and pipeline, and the rest as it is here."""
        return Assistant(chat, pipeline, self.restorer, settings, marks, self.upscaler, self.guard, self.bounds)


def _inpainter(folder: Path, args: argparse.Namespace) -> Pipeline:
    """What fills marked parts, with the pipeline's low-rank weights; that they do not fit it is told in the log.

    Raises: UserError.
    """
    options = flags.painter_options(args)
    loras = options.pop("loras")
    inpainter = load_pipeline(folder, **options | {"task": INPAINTING})
    try:
        add_loras(inpainter, loras)
    except UserError as problem:
        log.warning("marked parts are painted without low-rank weights, which suit the painter only: %s", problem)
    return inpainter


def _weights(name: str | None, path: str | None) -> tuple[str | None, str | None]:
    """The same with the path of the weights on the shelf, where the row has some."""
    row = RESTORERS[name] if name is not None else None
    return name, path or (str(default_path(row.scale)) if isinstance(row, Weighted) else None)
