"""What goes between the processes of the server: plain values, pictures among them.

Nothing heavy is imported: Serve's proxies and the queue read this, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from llmga.assistant.record import ModelMark
    from llmga.llava.planner import EndedBy
    from llmga.seams import Seam


@dataclass(frozen=True)
class Refused:
    """A `UserError` of a replica, which Ray would hand on with a traceback in its words."""

    message: str


@dataclass(frozen=True)
class Begun:
    """A replica has taken the call; what came before belongs to an attempt that was lost."""


@dataclass(frozen=True)
class Ended:
    """A reply is over, and by what."""

    by: EndedBy


@dataclass(frozen=True)
class Step:
    """As `on_step` of a pipeline is told."""

    number: int
    total: int


@dataclass(frozen=True)
class Preview:
    """As `on_preview` of a pipeline is told."""

    step: int
    image: Image.Image


@dataclass(frozen=True)
class Painted:
    """A finished picture, and the seams that the restorer saw."""

    image: Image.Image
    seams: list[tuple[Seam, Seam]]


@dataclass(frozen=True)
class PlannerFacts:
    """What the application has to know of a language model; see `llmga.llava.planner.Planner`."""

    steers: bool
    teaching: str
    context_length: int | None
    marks: tuple[ModelMark, ...]


@dataclass(frozen=True)
class TaskFacts:
    """What it has to know of the pipeline for one task; see `llmga.diffusers.pipeline.Pipeline`."""

    path: str
    native_size: tuple[int, int] | None
    edits_by: str


@dataclass(frozen=True)
class PainterFacts:
    """What it has to know of a painter.

    Attributes:
        tasks: by their names; a refusal where the pipeline cannot do it.
        restorer: the row of the usual restorer.
        upscale: how many times its own upscaler enlarges; None where it has none.
        checks: it looks whether pictures are unsafe.
    """

    tasks: Mapping[str, TaskFacts | Refused]
    marks: tuple[ModelMark, ...]
    restorer: str
    upscale: int | None = None
    checks: bool = False


@dataclass(frozen=True)
class PaintOrder:
    """One picture that is to be painted.

    Attributes:
        sampler: a row of `llmga.diffusers.samplers.SAMPLERS`; None is the usual one.
        restorer: a row of `llmga.diffrir.restorers.RESTORERS`; None is the painter's own.
        previews: small pictures of how far it is are wanted, too.
        who: under whose name it waits for its turn.
        options: further arguments of the pipeline.
    """

    task: str
    prompt: str
    sampler: str | None = None
    restorer: str | None = None
    previews: bool = False
    who: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
