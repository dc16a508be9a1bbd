"""A picture painted beside others: a stock pipeline whose denoiser is shared step by step."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
from PIL import Image

from llmga.diffusers.batching import Step, StepBatch
from llmga.diffusers.components import rebuilt
from llmga.diffusers.interruption import Look, watched
from llmga.diffusers.memory import execution_device, free_memory
from llmga.diffusers.pipeline import Pipeline
from llmga.diffusers.plan import working_memory

log: logging.Logger = logging.getLogger(__name__)

MOST = 64  # pictures at once
USABLE = 0.8  # of the memory that is free; a language model may want some, too


def batch_of(pipeline: Any, most: int) -> StepBatch | None:
    """Where a pipeline's paintings meet; None where they are better painted one by one.

    These are the UNets of SD1.5 and SDXL, which take a time for each row; with weights in fewer bits, or with layers
    that wait on the CPU, pictures are painted one by one.

    Args:
        most: paintings that are denoised together; fewer where the device has no memory for so many of the native size.
            Of larger pictures there are fewer, too.
    """
    able = isinstance(pipeline, Pipeline) and pipeline.family.prompt_arguments is not None
    if not able or pipeline.offload != "none" or pipeline.quant is not None:
        return None
    if (fit := pictures_that_fit(pipeline)) < most:
        log.warning("the device has memory for %d of %d pictures at once.", fit, most)
    most = min(most, fit)
    width, height = (side // pipeline.pipe.vae_scale_factor for side in pipeline.native_size)
    return StepBatch(pipeline.denoiser, most, most * width * height) if most > 1 else None


def pictures_that_fit(pipeline: Pipeline) -> int:
    """How many pictures of the native size the device has memory for at once, about; at least one."""
    free = free_memory(execution_device(pipeline.denoiser))
    configs = {"unet": pipeline.denoiser.config, "vae": pipeline.pipe.vae.config}
    each = working_memory(configs, pipeline.native_size, pipeline.denoiser.dtype.itemsize)
    return MOST if free is None else min(MOST, max(1, int(USABLE * free // each)))


def joins(pipeline: Any, batch: StepBatch, options: Mapping[str, Any]) -> bool:
    """Whether a call paints from words alone with the batch's denoiser, so that its steps are like those of others."""
    return (
        type(pipeline) is Pipeline
        and pipeline.denoiser is batch.network
        and not (options.get("image") or options.get("mask") or pipeline.extra or pipeline.guides.picture_prompt)
        and not (pipeline.guides.standing if options.get("controls") is None else options["controls"])
    )


def paint_beside(
    pipeline: Pipeline, batch: StepBatch, prompt: str, *, still_wanted: Look | None = None, **options: Any
) -> Image.Image:
    """The picture that `pipeline(prompt, …)` paints, its steps done together with others' of the batch.

    In single precision on a CPU it is the same to the bit, elsewhere up to how the device rounds for more rows.

    Raises:
        UserError: as the pipeline.
        torch.OutOfMemoryError: the device has too little memory, even for it alone.
    """
    with ExitStack() as seat:
        denoise = seat.enter_context(batch.member())
        look = still_wanted or (lambda: None)
        pipe = rebuilt(
            pipeline,
            type(pipeline.pipe),
            scheduler=deepcopy(pipeline.own_scheduler),  # which keeps where it is in its steps
            unet=JoinedDenoiser(batch.network, denoise, look),
        )
        return JoinedPipeline(pipeline, pipe, batch, look, seat.close)(prompt, **options)


class JoinedDenoiser:
    """The denoiser as one painting calls it.

    Args:
        network: what it is.
        denoise: computes a step, as `StepBatch.member` gives it.
        still_wanted: what it raises ends the painting.
    """

    def __init__(self, network: Any, denoise: Callable[[Step], Any], still_wanted: Look):
        self._network = network
        self._denoise = denoise
        self._still_wanted = still_wanted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, sample: torch.Tensor, timestep: Any, **given: Any) -> Any:
        return self._denoise(Step(sample, timestep, given, self._still_wanted))


class JoinedPipeline(Pipeline):
    """A pipeline for one picture, painted beside others.

    Args:
        own: whose weights it has.
        pipe: of diffusers, with a `JoinedDenoiser`.
        batch: where it meets the others.
        still_wanted: what it raises ends the painting.
        leave: called once the steps are done.
    """

    def __init__(self, own: Pipeline, pipe: Any, batch: StepBatch, still_wanted: Look, leave: Callable[[], None]):
        super().__init__(pipe, own.family, path=own.path, defaults=own.defaults)
        self.encoder, self.guides, self.added = own.encoder, own.guides, own.added  # what it knows, others know
        self.use_sampler(own.sampler_name)
        self._batch, self._still_wanted, self._leave = batch, still_wanted, leave

    def __call__(self, prompt: str, image: Any = None, mask: Any = None, *, seed: int = 0, **options: Any) -> Any:
        """As `Pipeline` paints from words."""
        return self.batch(prompt, [seed], **options)[0]

    def _decoded(self, latents: torch.Tensor) -> list[Image.Image]:
        self._leave()
        return super()._decoded(latents)

    @contextmanager
    def _networks(self) -> Iterator[None]:
        with self._batch.alone(self._still_wanted), watched(self.pipe, self._still_wanted):
            yield

    def _within_memory(self, pipe: Any, work: Callable[[], list[Image.Image]]) -> list[Image.Image]:
        return work()  # what needs more is painted alone
