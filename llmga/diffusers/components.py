"""Pipelines that share one set of components: for another task, or for another session."""

import inspect
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from llmga.diffusers.control import IP_ADAPTER, Control
from llmga.diffusers.families import EDITING, TEXT_TO_IMAGE, Family
from llmga.diffusers.pipeline import Pipeline
from llmga.diffusers.pipelines import PIPELINES, pipeline_class_of
from llmga.errors import UserError


def for_task(pipeline: Any, task: str) -> Any:
    """A pipeline for another task.

    A checkpoint made for text-to-image serves every task, one made for inpainting all but editing; what was made of it
    is kept.

    Args:
        pipeline: one of ours, or anything else that is called as one.
        task: `text-to-image`, `inpainting` or `editing`.

    Returns:
        The pipeline itself where it is for the task, or not ours and without a method `for_task`; the one with weights
        of its own for the task (`Pipeline.dedicated`), which keeps its own sampler until another one is chosen for
        `pipeline`; or one with the weights of `pipeline`.

    Raises:
        UserError: when the pipeline cannot do the task.
    """
    if not isinstance(pipeline, Pipeline):
        return pipeline.for_task(task) if hasattr(pipeline, "for_task") else pipeline
    if task in (pipeline.family.task, TEXT_TO_IMAGE):
        return pipeline  # inpainters and editors paint a whole picture where none is given
    if dedicated := pipeline.dedicated.get(task):
        usual = pipeline.defaults.get("sampler", "checkpoint")
        own = pipeline.sampler_name == usual or dedicated.family.prompt_arguments is None  # which takes no other
        dedicated.use_sampler(None if own else pipeline.sampler_name)
        return dedicated
    name = f"{pipeline.family.architecture}-{task}"
    unknown = name not in PIPELINES or pipeline.family.architecture == "auto"
    if unknown or (task == EDITING and _inpaints_only(pipeline)):
        raise UserError(f"checkpoint {pipeline.path!r} ({pipeline.family.name}) is not made for {task}; "
                        "choose another checkpoint.")  # fmt: skip
    if task not in pipeline.derived:
        pipeline.derived[task] = from_pipe(pipeline, PIPELINES[name])
    other = pipeline.derived[task]
    other.added = list(pipeline.added)  # of the weights that it shares
    other.guides = replace(pipeline.guides, standing=_pictured(pipeline.guides.standing))
    if other.sampler_name != pipeline.sampler_name:
        other.use_sampler(pipeline.sampler_name)
    return other


def _pictured(standing: Iterable[Control]) -> tuple[Control, ...]:
    """What goes on guiding where a picture is changed: what it shows, not where things were to be."""
    return tuple(control for control in standing if control.name == IP_ADAPTER)


def _inpaints_only(pipeline: Pipeline) -> bool:
    """Whether its UNet takes more than latents: a mask and what it leaves."""
    return (
        hasattr(pipeline.pipe, "unet")
        and pipeline.denoiser.config.in_channels != pipeline.pipe.vae.config.latent_channels
    )


def from_pipe(pipeline: Pipeline, family: Family | None = None) -> Pipeline:
    """Another pipeline with the same weights and a sampler of its own.

    Args:
        pipeline: whose components are shared.
        family: what the new one is for; None is the same, with all that was added to `pipeline`.
    """
    kind = type(pipeline.pipe) if family is None else family.load_pipeline_class()
    family, weighted = family or pipeline.family, pipeline.encoder.weighted
    pipe = rebuilt(pipeline, kind, scheduler=_own_scheduler(pipeline))
    other = pipeline_class_of(family)(
        pipe, family, path=pipeline.path, defaults=pipeline.defaults, weighted=weighted, offload=pipeline.offload
    )
    other.added, other.guides, other.extra = pipeline.added, pipeline.guides, dict(pipeline.extra)
    other.quant = pipeline.quant
    other.dedicated = {task: from_pipe(each) for task, each in pipeline.dedicated.items()}
    return other


def rebuilt(pipeline: Pipeline, kind: Any, **others: Any) -> Any:
    """A pipeline of diffusers with the same components.

    Args:
        pipeline: whose components they are.
        kind: its class.
        others: components in place of those.
    """
    parts = {**pipeline.pipe.config, **pipeline.pipe.components, **others}
    taken = inspect.signature(kind.__init__).parameters
    return kind(**{name: part for name, part in parts.items() if name in taken})


def _own_scheduler(pipeline: Pipeline) -> Any:
    """What the folder names; anew where no sampler takes its place, since it keeps where it is in its steps."""
    scheduler = pipeline.own_scheduler
    return scheduler if pipeline.family.prompt_arguments else type(scheduler).from_config(scheduler.config)
