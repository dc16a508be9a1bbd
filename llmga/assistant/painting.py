"""One picture painted to the end, the same way whether a conversation asks for it or a record is replayed."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from threading import Event
from typing import Any, cast

from PIL import Image

from llmga.assistant.events import Denoising
from llmga.assistant.record import ModelMark, Record, Setup, Words, picture_hash
from llmga.assistant.session import Region, task_of
from llmga.assistant.settings import Changes, Settings
from llmga.background import reports_of
from llmga.changes import Change, change
from llmga.compositing import paste_back
from llmga.diffrir.checkpoints import default_path
from llmga.diffrir.restorers import RESTORERS, LazyDiffRIR, Restorer, restorer_name
from llmga.diffusers.components import for_task
from llmga.diffusers.control import Control, controls_text
from llmga.diffusers.families import DIFFERENCE, EDITING, INSTRUCTION, TEXT_TO_IMAGE
from llmga.diffusers.parts import PARTS
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.seams import Seam, seam


class _Cancelled(Exception):
    """Raised inside the pipeline, in or between its steps, to end a painting."""


PASSED_ON = ("negative_prompt", "steps", "guidance_scale", "size", "clip_skip")  # settings that the pipeline is given
PAINTER_FACTS = ("family", "layout", "dtype", "device", "weighted", "tile_vae", "quant", "added")


@dataclass(frozen=True)
class ImageRequest:
    """What is to be painted; the same request gives the same picture.

    Attributes:
        region: what it is painted into; None paints a whole picture.
        controls: which pictures guide it; None is what the pipeline was set up with.
    """

    prompt: str
    seed: int
    region: Region | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    size: tuple[int, int] | None = None
    clip_skip: int | None = None
    controls: tuple[Control, ...] | None = None

    @classmethod
    def of(
        cls, prompt: str, seed: int, region: Region | None, chosen: Settings, latest: Image.Image | None = None
    ) -> "ImageRequest":
        """The request under a session's settings.

        Args:
            latest: what guides a whole picture where the settings name no picture.

        Raises:
            UserError: there is none.
        """
        controls = chosen.controls
        if controls is not None and region is None:
            controls = tuple(_pictured(control, latest) for control in controls)
        own = {name: getattr(chosen, name) for name in PASSED_ON}
        return cls(prompt, seed, region, controls=controls, **own)

    @property
    def guidance(self) -> dict[str, Any]:
        """The argument of the pipeline, where it is not left to how that was set up."""
        return {} if self.controls is None else {"controls": self.controls}

    @property
    def changes(self) -> dict[str, Any]:
        """Further arguments of the pipeline; none for a whole picture."""
        return dict(self.region.changes) if self.region else {}


def _pictured(control: Control, latest: Image.Image | None) -> Control:
    if control.image is None and latest is None:
        raise UserError(f"control {control.name!r} has no picture to follow yet; give one, or ask for one first.")
    return replace(control, image=latest) if control.image is None else control


@dataclass
class Postprocessing:
    """What happens to a painting afterwards, and what is told of it.

    Attributes:
        seams: (before, after) of each painting that the restorer saw; more than one where a picture grew in stages.
        change: what is another picture now, where one was changed by words.
    """

    restorer: Restorer
    upscaler: Restorer | None = None
    seams: list[tuple[Seam, Seam]] = field(default_factory=list)
    change: Change | None = None

    @property
    def restore(self) -> "MeasuredRestorer":
        """What a pipeline calls before it puts the kept pixels back."""
        return MeasuredRestorer(self.restorer, self.seams)

    def compare(self, image: Image.Image, region: Region | None) -> None:
        """Measure what became of a picture that was changed by words."""
        if region is not None and region.mask is None and region.picture.size == image.size:
            self.change = change(region.picture, image)

    def enlarge(self, image: Image.Image, region: Region | None) -> Image.Image:
        """The picture at the upscaler's size, what is known of the original guiding it."""
        if self.upscaler is None:
            return image
        known = (None, None) if region is None or region.mask is None else (to_rgb(region.picture), region.mask)
        return self.upscaler(to_rgb(image), *known)

    @property
    def worst(self) -> tuple[Seam | None, Seam | None]:
        """The seam that shows most, before and after; None where nothing was restored."""
        if not self.seams:
            return None, None
        before, after = zip(*self.seams, strict=True)
        return max(before, key=_shows), max(after, key=_shows)


def _shows(measured: Seam) -> float:
    return measured.colour


@dataclass(frozen=True)
class MeasuredRestorer:
    """A restorer whose seams are measured; a pipeline that paints elsewhere looks at what it is made of.

    Attributes:
        seams: grow by (before, after) with each painting.
    """

    restorer: Restorer
    seams: list[tuple[Seam, Seam]]

    def __call__(self, painting: Image.Image, picture: Image.Image, mask: Image.Image) -> Image.Image:
        """The restored painting, before the kept pixels are put back."""
        restored = self.restorer(painting, picture, mask)
        before, after = (seam(paste_back(picture, version, mask), mask) for version in (painting, restored))
        self.seams.append((before, after))
        return restored


def ready(restorer: Restorer) -> Restorer:
    """The restorer with its weights opened: before anything is painted.

    Raises:
        UserError: there are none.
    """
    return restorer.restorer if isinstance(restorer, LazyDiffRIR) else restorer


def restorer_of(name: str | None, own: Restorer) -> Restorer:
    """The row of this name, or the assistant's own.

    Raises:
        UserError: there is no such row, or it enlarges.
    """
    found = ready(rows_beside(own)[name] if name else own)
    if (scale := getattr(found, "scale", 1)) != 1:
        raise UserError(f"restorer {restorer_name(found)!r} enlarges {scale} times; choose it as upscale {scale}.")
    return found


def upscaler_of(scale: int | None, own: Restorer | None) -> Restorer | None:
    """The restorer that enlarges by `scale`, the assistant's own where it does.

    Raises:
        UserError: there are no weights of that scale.
    """
    if scale is None:
        return None
    return own if getattr(own, "scale", None) == scale else ready(rows_beside(own)[f"diffrir-x{scale}"])


def rows_beside(own: Restorer | None) -> Mapping[str, Restorer]:
    """The restorers that may take the place of the assistant's own, by name: where that computes elsewhere, they do."""
    return getattr(own, "rows", RESTORERS)


def default_mark(role: str, name: str) -> ModelMark | None:
    """What records say of a row whose weights are those in the model directory; None for one without weights."""
    row = RESTORERS[name]
    return _mark(role, str(default_path(row.scale))) if isinstance(row, LazyDiffRIR) else None


_mark = cache(ModelMark.of)  # which reads the weights


def paint(
    pipeline: Callable[..., Image.Image],
    wanted: ImageRequest,
    postprocessing: Postprocessing,
    on_step: Callable[[int, int], None] | None = None,
    on_preview: Callable[[int, Image.Image], None] | None = None,
    still_wanted: Callable[[], None] | None = None,
) -> Image.Image:
    """The finished picture.

    Args:
        on_step: as a pipeline takes it; what it raises stops the painting.
        on_preview: as a pipeline takes it.
        still_wanted: as a pipeline takes it; what it raises stops the painting.

    Raises:
        UserError: it cannot be painted so.
    """
    region, given = wanted.region, wanted.changes
    if region is not None and region.mask is not None:
        given["restore"] = postprocessing.restore
    if wanted.clip_skip is not None:
        given["clip_skip"] = wanted.clip_skip
    if on_preview is not None:
        given["on_preview"] = on_preview
    if still_wanted is not None:
        given["still_wanted"] = still_wanted
    image = pipeline(
        wanted.prompt,
        image=region and region.picture,
        mask=region and region.mask,
        negative_prompt=wanted.negative_prompt,
        seed=wanted.seed,
        steps=wanted.steps,
        guidance_scale=wanted.guidance_scale,
        size=wanted.size,
        **wanted.guidance,
        on_step=on_step or (lambda step, total: None),
        **given,
    )
    postprocessing.compare(image, region)
    if still_wanted is not None and postprocessing.upscaler is not None:
        still_wanted()
    return postprocessing.enlarge(image, region)


def pipeline_for(
    own: Callable[..., Image.Image], region: Region | None, chosen: Settings
) -> Callable[..., Image.Image]:
    """The assistant's pipeline, or one for the task that shares its weights.

    Raises:
        UserError: when the pipeline cannot do the task.
    """
    choose_sampler(own, chosen)
    found: Callable[..., Image.Image] = for_task(own, TEXT_TO_IMAGE if region is None else region.pipeline_task)
    return found


def is_instructed(own: Callable[..., Image.Image]) -> bool:
    """Whether a picture is changed as a person says it: by a pipeline that wants the instruction, no description."""
    try:
        return getattr(for_task(own, EDITING), "edits_by", DIFFERENCE) == INSTRUCTION
    except UserError:
        return False  # that it changes no pictures is told where one is to be changed


def choose_sampler(pipeline: Callable[..., Image.Image], chosen: Settings) -> None:
    """Sample as the settings say; a pipeline may serve several sessions, one after the other.

    Raises:
        UserError: for a sampler that the pipeline cannot use.
    """
    if hasattr(pipeline, "use_sampler"):
        pipeline.use_sampler(chosen.sampler)


def check_guides(pipeline: Any, chosen: Settings) -> None:
    """See that pictures can guide as the settings say.

    Raises:
        UserError: they cannot.
    """
    if chosen.controls is not None and hasattr(pipeline, "controls"):
        pipeline.controls(chosen.controls)


def check_clip_skip(pipeline: Any, chosen: Settings) -> None:
    """See that so many layers can be left out.

    Raises:
        UserError: they cannot.
    """
    if hasattr(pipeline, "checked_clip_skip"):
        pipeline.checked_clip_skip(chosen.clip_skip)


def painted(
    pipeline: Callable[..., Image.Image],
    wanted: ImageRequest,
    postprocessing: Postprocessing,
    cancelled: Event,
    *,
    previews: bool,
) -> Generator[Denoising, None, Image.Image | None]:
    """Paint, telling each step.

    Args:
        cancelled: ends the painting within a part of a step once it is set.
        previews: tell small pictures of how far it is, too.

    Returns:
        The finished picture; None where it was cancelled.

    Raises:
        UserError: where it cannot be painted so.
    """
    latest: list[Image.Image] = []

    def still_wanted() -> None:
        if cancelled.is_set():
            raise _Cancelled

    def work(report: Callable[[Denoising], None]) -> Image.Image:
        def on_step(step: int, total: int) -> None:
            still_wanted()
            report(Denoising(step, total, latest.pop() if latest else None))

        seen = (lambda step, small: latest.append(small)) if previews else None
        return paint(pipeline, wanted, postprocessing, on_step, seen, still_wanted)

    try:
        return (yield from reports_of(work, cancelled.set))
    except _Cancelled:
        return None


def marks_behind(
    models: Sequence[ModelMark],
    pipeline: Callable[..., Image.Image],
    own: Callable[..., Image.Image],
    region: Region | None,
    upscaler: Restorer | None,
    chosen: Settings,
) -> tuple[ModelMark, ...]:
    """What the record of a picture says of the models behind it.

    Of pipeline, inpainter and editor that is only the one that painted it; restorers that were chosen meanwhile stand
    in place of those that the assistant was made with.

    Args:
        models: what records say of all models of the assistant.
        pipeline: what painted it.
        own: the assistant's pipeline.
        region: what it was painted into.
        upscaler: the assistant's.
    """
    shares = region is None or _path(pipeline) == _path(own)
    painted_it = "painter" if shares else "editor" if region and region.pipeline_task == EDITING else "inpainter"
    others = {mark.role: mark for mark in _chosen_marks(upscaler, chosen)}
    idle = {"painter", "inpainter", "editor"} - {painted_it}
    if not shares:
        idle |= set(PARTS)  # which took the place of the painter's own
    marks = [mark for mark in models if mark.role not in idle | set(others)] + list(others.values())
    return tuple(replace(mark, role="painter") if mark.role == painted_it else mark for mark in marks)


def _chosen_marks(own: Restorer | None, chosen: Settings) -> Iterator[ModelMark]:
    if chosen.restorer and (mark := default_mark("restorer", chosen.restorer)):
        yield mark
    if chosen.upscale and getattr(own, "scale", None) != chosen.upscale:
        yield from filter(None, [default_mark("upscaler", f"diffrir-x{chosen.upscale}")])


def _path(pipeline: Callable[..., Image.Image]) -> str | None:
    return getattr(pipeline, "path", None)


def record_of(
    pipeline: Any,
    wanted: ImageRequest,
    postprocessing: Postprocessing,
    image: Image.Image,
    *,
    request: str,
    words: dict[str, Any],
    models: tuple[ModelMark, ...],
) -> Record:
    """How the picture was made, every default filled in."""
    region, changes = wanted.region, wanted.changes
    described = pipeline.describe(
        steps=wanted.steps, guidance_scale=wanted.guidance_scale, **wanted.guidance, **changes
    )
    guides = wanted.controls or ()
    if "strength" in changes:
        changes["strength"] = described.get("strength", changes["strength"])
    mask = None if region is None else region.mask
    before, after = postprocessing.worst
    setup = {"sampler": described.get("sampler_name")} | {k: described[k] for k in PAINTER_FACTS if k in described}
    return Record(
        prompt=wanted.prompt,
        request=request,
        negative_prompt=wanted.negative_prompt or "",
        seed=wanted.seed,
        steps=described.get("steps"),
        guidance_scale=described.get("guidance_scale"),
        clip_skip=wanted.clip_skip or None,
        sampler=described.get("sampler"),
        size=image.size,
        work_size=wanted.size,
        task=task_of(region),
        parent=None if region is None else picture_hash(region.parent),
        mask=None if mask is None else picture_hash(mask),
        outpaint=None if region is None else region.outpaint,
        fill=None if region is None else region.fill,
        changes=cast(Changes, changes),
        control=None if wanted.controls is None else controls_text(guides),
        control_images=tuple(None if each.image is None else picture_hash(each.image) for each in guides),
        restorer=None if mask is None else restorer_name(postprocessing.restorer),
        upscaler=postprocessing.upscaler and restorer_name(postprocessing.upscaler),
        seam_before=before,
        seam_after=after,
        changed=postprocessing.change,
        words=cast(Words, words),
        painter=cast(Setup, setup),
        models=models,
    )
