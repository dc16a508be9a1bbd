"""Prompt in, picture out: a stock diffusers pipeline, fed with embeddings of text of any length."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from PIL import Image

from llmga.diffusers.control import Control
from llmga.diffusers.families import EDITING, Family
from llmga.diffusers.guidance import Guides, check_controls, guided
from llmga.diffusers.interruption import Look, interruptible
from llmga.diffusers.latents import check_finite, decode
from llmga.diffusers.long_prompt import text_towers
from llmga.diffusers.memory import with_less_memory
from llmga.diffusers.previews import Previews
from llmga.diffusers.prompt_encoder import PromptEncoder, TokenReport
from llmga.diffusers.samplers import SAMPLERS, Sampler, most_steps, scheduler_of
from llmga.diffusers.work_area import WorkArea
from llmga.errors import UserError
from llmga.inputs import as_number, as_seeds, as_size, as_text, as_whole, check_keywords
from llmga.limits import LARGEST_GUIDANCE, LARGEST_SIDE, SEEDS, SMALLEST_SIDE

OnStep = Callable[[int, int], None]
OnPreview = Callable[[int, Image.Image], None]
NATIVE = 128  # side of the latents, where neither pipeline nor denoiser says it


def stage_progress(on_step: OnStep | None, number: int, count: int) -> OnStep | None:
    """Progress of one of several stages of equal length, reported as a part of the whole."""
    return on_step and (lambda step, total: on_step(number * total + step, count * total))


class Pipeline:
    """A loaded text-to-image pipeline: `pipeline(prompt) -> image`.

    It holds the stock one of diffusers, which it calls with embeddings of text of any length.

    Args:
        pipe: the pipeline of diffusers, on its device.
        family: the row that it is.
        path: where the weights lie, as records name it.
        defaults: `steps`, `guidance_scale`, `strength`, `sampler` (of `SAMPLERS`) and `layout` (of `LAYOUTS`) that
            the checkpoint prefers, all optional.
        weighted: brackets in prompts are weights instead of text.
        offload: how the pipeline was placed, one of `llmga.choices.OFFLOADS`.

    Raises:
        UserError: for weights in prompts that a pipeline reads itself.
    """

    guides: Guides = Guides()  # nothing is loaded; every pipeline has its own

    def __init__(
        self,
        pipe: Any,
        family: Family,
        *,
        path: str = "",
        defaults: dict[str, Any] | None = None,
        weighted: bool = False,
        offload: str = "none",
    ):
        if weighted and family.prompt_arguments is None:
            raise UserError(f"brackets as weights are for SD1.5 and SDXL; {path!r} ({family.name}) reads its prompts "
                            "itself, leave out --prompt-weights.")  # fmt: skip
        self.pipe = pipe
        self.family = family
        self.path = path
        self.offload = offload
        self.defaults: dict[str, Any] = defaults or {}
        self.layout: str = self.defaults.get("layout", "joined")
        self.encoder: PromptEncoder = PromptEncoder(pipe, self.layout, weighted=weighted)
        self.extra: dict[str, Any] = {}  # what a program adds to every call of the pipeline of diffusers
        self.guides = Guides()
        self.quant: str | None = None  # how the denoiser is held, as `load_pipeline` takes it
        self.derived: dict[str, Pipeline] = {}  # pipelines for other tasks with the same weights, by task
        self.dedicated: dict[str, Pipeline] = {}  # pipelines for other tasks with weights of their own, by task
        self.added: list[dict[str, Any]] = []  # what a record says of them
        self.own_scheduler: Any = pipe.scheduler
        self.sampler_name: str = ""
        self.use_sampler()
        pipe.set_progress_bar_config(disable=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.path!r} ({self.family.name})>"

    def use_sampler(self, name: str | None = None) -> None:
        """Sample with a row of `SAMPLERS` from now on.

        Args:
            name: None is what it was opened with; `checkpoint` is what the folder names.

        Raises:
            UserError: for an unknown name, or one that the family or the checkpoint's kind cannot use.
        """
        name = name or self.defaults.get("sampler", "checkpoint")
        if name == self.sampler_name:
            return  # another thread may be painting with it
        if name != "checkpoint" and self.family.prompt_arguments is None:
            raise UserError(f"sampler {name!r} is for SD1.5 and SDXL; {self.path!r} takes its own one, 'checkpoint'.")
        sampler = SAMPLERS[name]
        if self.family.prompt_arguments is not None:  # the others' schedulers are none of ours
            self.pipe.scheduler = scheduler_of(sampler, self.own_scheduler)
        self.sampler: Sampler = sampler
        self.sampler_name = name

    @property
    def steps(self) -> int:
        """Denoising steps of a call that names none: the sampler's, else the checkpoint's, else the family's."""
        return self.sampler.steps or self.defaults.get("steps", self.family.steps)

    @property
    def guidance_scale(self) -> float:
        """Guidance of a call that names none, found in the same order."""
        own = self.sampler.guidance_scale
        return self.defaults.get("guidance_scale", self.family.guidance_scale) if own is None else own

    @property
    def denoiser(self) -> Any:
        """The UNet, or the transformer of newer families."""
        return getattr(self.pipe, "unet", None) or self.pipe.transformer

    @property
    def native_size(self) -> tuple[int, int]:
        """Width and height in pixels that the model was made for."""
        stated = getattr(self.denoiser.config, "sample_size", None)
        side = getattr(self.pipe, "default_sample_size", None) or stated or NATIVE
        height, width = (side, side) if isinstance(side, int) else side
        return width * self.pipe.vae_scale_factor, height * self.pipe.vae_scale_factor

    @property
    def unit(self) -> int:
        """Every side of a painted picture is a multiple of this many pixels."""
        patch = 1 if hasattr(self.pipe, "unet") else 2
        return max(8, self.pipe.vae_scale_factor * patch)  # the pipelines themselves ask for multiples of 8

    @property
    def edits_by(self) -> str:
        """How it changes a picture, see `Family.edits_by`; "" where it changes none."""
        return self.family.edits_by if self.family.task == EDITING else ""

    def report(self, prompt: str) -> TokenReport | str:
        """How the prompt is cut into chunks, or how much of it is read."""
        if self.family.prompt_arguments is not None:
            return self.encoder.report(prompt)
        return "" if self.family.text is None else self.family.text.report(self.pipe, prompt)

    @interruptible
    @torch.inference_mode()
    def __call__(
        self,
        prompt: str,
        image: Image.Image | None = None,
        mask: Image.Image | None = None,
        *,
        negative_prompt: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        clip_skip: int | None = None,
        size: tuple[int, int] | None = None,
        controls: Sequence[Control] | None = None,
        on_step: OnStep | None = None,
        on_preview: OnPreview | None = None,
        still_wanted: Look | None = None,
        **of_other_tasks: Any,
    ) -> Image.Image:
        """Paint one picture; the same arguments give the same bytes on a CPU.

        Args:
            prompt: of any length.
            image: what is changed: an error in a text-to-image pipeline.
            mask: an error in a text-to-image pipeline.
            negative_prompt: what the picture is to keep away from; None is what the family takes for none.
            seed: 0 to 2**63 - 1; the same on every device.
            steps: denoising steps, 1 to 1000 with most samplers; None is what sampler, checkpoint or family prefer.
            guidance_scale: 0 to 100; up to 1 the negative prompt is not looked at; None is as for `steps`.
            clip_skip: layers that the text towers of SD1.5 and SDXL leave out, as diffusers counts them: 1 reads the
                one before the usual one; None and 0 leave out none.
            size: (width, height) in pixels, 16 to 2048 and multiples of `unit`; None is `native_size`.
            controls: which pictures guide it beside the words; None is what was set up, () is none.
            on_step: called with (step, total) after each step; what it raises stops the painting.
            on_preview: called with the step and a small picture of how far it is, after each step.
            still_wanted: called between the blocks of the networks, so inside a step, too; what it raises stops the
                painting.
            of_other_tasks: what pipelines for other tasks take; not used here.

        Returns:
            An RGB picture of `size`.

        Raises:
            UserError: for a value out of range.
            TypeError: for a keyword that no pipeline knows.
        """
        if mask is not None:
            raise UserError(f"checkpoint {self.path!r} ({self.family.name}) paints from words only and takes no mask; "
                            "choose an inpainting checkpoint.")  # fmt: skip
        if image is not None:
            raise UserError(f"checkpoint {self.path!r} ({self.family.name}) paints from words only and takes no "
                            'picture; load it with task="editing", or with task="inpainting" and a mask.')  # fmt: skip
        return self.batch(
            prompt, [seed], negative_prompt=negative_prompt, steps=steps, guidance_scale=guidance_scale,
            clip_skip=clip_skip, size=size, controls=controls, on_step=on_step, on_preview=on_preview, **of_other_tasks,
        )[0]  # fmt: skip

    @torch.inference_mode()
    def batch(
        self,
        prompt: str,
        seeds: Sequence[int],
        *,
        negative_prompt: str | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        clip_skip: int | None = None,
        size: tuple[int, int] | None = None,
        controls: Sequence[Control] | None = None,
        on_step: OnStep | None = None,
        on_preview: OnPreview | None = None,
        **of_other_tasks: Any,
    ) -> list[Image.Image]:
        """Several pictures of one prompt at once; picture k is the one that its seed gives alone.

        A larger batch may round differently, so that some pixels differ by a level.  A preview shows the first one.

        Args:
            prompt: as in `__call__`, like all that is not named here.
            seeds: one for each picture.

        Returns:
            A picture for each seed.

        Raises:
            UserError: for a value out of range.
            TypeError: for a keyword that no pipeline knows.
        """
        self._own_options(of_other_tasks)
        width, height = self._checked_size(size)
        return self._paint(
            prompt, negative_prompt, seeds, steps, guidance_scale, on_step, on_preview, clip_skip=clip_skip,
            controls=self.controls(controls), width=width, height=height,
        )  # fmt: skip

    def controls(self, given: Sequence[Control] | None) -> tuple[Control, ...]:
        """What guides a call: what it names, else what was set up.

        Raises:
            UserError: when it cannot guide this pipeline.
        """
        chosen = self.guides.standing if given is None else tuple(given)
        check_controls(self, chosen)
        return chosen

    def adapt(self, pipe: Any) -> None:
        """Make another pipeline of diffusers with the same components as that of this kind is."""

    def _paint(
        self,
        prompt: str,
        negative_prompt: str | None,
        seeds: Sequence[int],
        steps: int | None,
        guidance_scale: float | None,
        on_step: OnStep | None,
        on_preview: OnPreview | None,
        *,
        clip_skip: int | None = None,
        controls: Sequence[Control] = (),
        **arguments: Any,
    ) -> list[Image.Image]:
        """Run the pipeline with these keyword arguments, and decode.

        Args:
            controls: each with its picture, as large as the painting or fitted to it.
        """
        steps, guidance_scale = self._checked(steps, guidance_scale, negative_prompt)
        if not (seeds := as_seeds(seeds)):
            return []
        size: tuple[Any, Any] = arguments.get("width"), arguments.get("height")
        arguments = self.family.adapted(arguments)
        arguments |= self._prompt_arguments(as_text(prompt), negative_prompt, guidance_scale, clip_skip)
        pipe, guidance = guided(self, controls, size)
        told = accepted(pipe, self.sampler.schedule(steps)) | self._reporting(pipe, on_step, on_preview, size)

        def work() -> list[Image.Image]:
            result = pipe(
                **arguments,
                **(guidance | self.extra),
                **told,
                num_images_per_prompt=len(seeds),
                generator=[self._generator(seed) for seed in seeds],
                output_type="latent" if self.family.prompt_arguments else "pil",
            ).images
            return self._decoded(result) if self.family.prompt_arguments else [_of_size(each, size) for each in result]

        return self._within_memory(pipe, work)

    def _within_memory(self, pipe: Any, work: Callable[[], list[Image.Image]]) -> list[Image.Image]:
        """The result of the work, which is tried again with less memory where it takes too much."""
        return with_less_memory(pipe, work)

    def _networks(self) -> AbstractContextManager[Any]:
        """What is held while encoders or VAE are at work; the denoiser is called without."""
        return nullcontext()

    def _own_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Those of the options that this kind of pipeline takes; raises TypeError for one that none takes."""
        kinds: list[type[Pipeline]] = [Pipeline, *Pipeline.__subclasses__()]
        check_keywords(type(self).__name__, options, set().union(*(kind.keywords() for kind in kinds)))
        return {name: value for name, value in options.items() if name in self.keywords()}

    @classmethod
    def keywords(cls) -> set[str]:
        """What a call may name, read off the methods that it passes through; `still_wanted` never reaches them."""
        methods = [vars(kind).get(name) for kind in cls.__mro__ for name in ("__call__", "batch", "_fill")]
        taken = [inspect.signature(method).parameters.values() for method in methods if method is not None]
        named = {each.name for some in taken for each in some if each.kind is inspect.Parameter.KEYWORD_ONLY}
        return named - {"still_wanted"}

    @staticmethod
    def _generator(seed: int) -> torch.Generator:
        """On the CPU whatever the device, so that a seed means one picture everywhere; UserError out of range."""
        seed = as_whole(seed, "seed")
        if not 0 <= seed < SEEDS:
            raise UserError(f"seed {seed} is out of range; use 0 to {SEEDS - 1}.")
        return torch.Generator("cpu").manual_seed(seed)

    def _decoded(self, latents: torch.Tensor) -> list[Image.Image]:
        with self._networks():
            return self.pipe.image_processor.postprocess(decode(self.pipe.vae, latents).float())

    def _prompt_arguments(
        self, prompt: str, negative: str | None, guidance_scale: float, clip_skip: int | None
    ) -> dict[str, Any]:
        """The prompt as arguments of the pipeline, which looks at no negative side without guidance."""
        negative = negative if negative is None else as_text(negative, "negative prompt")
        skipped = self.checked_clip_skip(clip_skip)
        if self.family.text is not None:
            return self.family.text.arguments(self.pipe, prompt, negative, guidance_scale)
        given: dict[str, Any] = {"guidance_scale": guidance_scale}
        if self.family.prompt_arguments is None:
            return given | {"prompt": prompt} | ({} if negative is None else {"negative_prompt": negative})
        with self._networks():
            encoded = self.encoder(prompt, negative, guided=guidance_scale > 1, clip_skip=skipped)
        return given | self.family.prompt_arguments(encoded)

    def checked_clip_skip(self, clip_skip: int | None) -> int:
        """Layers that the text towers leave out.

        Raises:
            UserError: the family has no CLIP to skip layers of, or not so many.
        """
        skipped = 0 if clip_skip is None else as_whole(clip_skip, "clip skip")
        if skipped and self.family.prompt_arguments is None:
            raise UserError(f"clip skip is for SD1.5 and SDXL; {self.path!r} ({self.family.name}) reads its text "
                            "otherwise; leave it out.")  # fmt: skip
        if self.family.prompt_arguments is not None:
            most = min(tower.encoder.config.num_hidden_layers for tower in text_towers(self.pipe)) - 1
            if not 0 <= skipped <= most:
                raise UserError(f"clip skip {skipped} is out of range for {self.path!r}; use 0 to {most}.")
        return skipped

    def _reporting(
        self, pipe: Any, on_step: OnStep | None, on_preview: OnPreview | None, size: tuple[int | None, int | None]
    ) -> dict[str, Any]:
        """What tells of the steps, as keyword argument of the pipeline; one of diffusers has the older kind only."""
        decodes_itself = self.family.text is not None  # and would make a black picture of what is no number
        if on_step is None and on_preview is None and not decodes_itself:
            return {}
        previews = Previews(self.pipe, patch=self.family.text.patch if self.family.text else 0)

        def report(step: int, total: int, latents: torch.Tensor) -> None:
            if decodes_itself and step + 1 == total:
                check_finite(latents)
            if on_preview is not None:
                with self._networks():
                    preview = previews(latents[:1], size)
                if preview is not None:
                    on_preview(step + 1, preview)
            if on_step is not None:
                on_step(step + 1, total)

        def ended(pipe: Any, step: int, timestep: Any, tensors: dict) -> dict:
            report(step, pipe.num_timesteps, tensors["latents"])
            return {}

        if "callback_on_step_end" in inspect.signature(pipe.__call__).parameters:
            return {"callback_on_step_end": ended}
        total = lambda: len(pipe.scheduler.timesteps) // pipe.scheduler.order  # noqa: E731  (known when it has begun)
        return {"callback": lambda step, time, latents: report(step, total(), latents)}

    def _checked(
        self, steps: int | None, guidance_scale: float | None, negative_prompt: str | None = None
    ) -> tuple[int, float]:
        """The values with defaults filled in; raises UserError when one is out of range, or not for the family."""
        steps = self.steps if steps is None else as_whole(steps, "steps")
        guidance_scale = self.guidance_scale if guidance_scale is None else as_number(guidance_scale, "guidance scale")
        most = most_steps(self.pipe.scheduler)
        if not 1 <= steps <= most:
            raise UserError(f"{steps} steps are out of range for sampler {self.sampler_name!r}; use 1 to {most}.")
        if not 0 <= guidance_scale <= LARGEST_GUIDANCE:
            raise UserError(f"guidance scale {guidance_scale} is out of range; use 0 to {LARGEST_GUIDANCE}.")
        if self.family.text is not None:
            self.family.text.check(self.family.name, negative_prompt, guidance_scale, self.guidance_scale)
        return steps, guidance_scale

    def _checked_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """The size, or the native one; raises UserError when the model cannot paint it."""
        if size is None:
            return self.native_size
        unit, size = self.unit, as_size(size)
        for side in size:
            if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
                raise UserError(f"size {side} is out of range; use {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side.")
            if side % unit:
                below = side // unit * unit
                nearest = [s for s in (below, below + unit) if SMALLEST_SIDE <= s <= LARGEST_SIDE]
                raise UserError(f"size {side} is not a multiple of {unit}; use {' or '.join(map(str, nearest))}.")
        return size

    def work_area(self, picture: tuple[int, int], size: tuple[int, int] | None) -> WorkArea:
        """A whole picture on the canvas that is painted, of the size asked for or the native number of pixels.

        Raises:
            UserError: the model cannot paint that size.
        """
        whole = (0, 0, *picture)
        if size is not None:
            return WorkArea.within(whole, self._checked_size(size))
        return WorkArea.fitted(whole, self.native_size, self.unit)

    def describe(
        self,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        clip_skip: int | None = None,
        size: tuple[int, int] | None = None,
        controls: Sequence[Control] | None = None,
        negative_prompt: str | None = None,
        **of_other_tasks: Any,
    ) -> dict[str, Any]:
        """What a picture's record says about its pipeline; values left out are the ones a call would use."""
        steps, guidance_scale = self._checked(steps, guidance_scale, negative_prompt)
        self.checked_clip_skip(clip_skip)
        return {
            "family": self.family.name,
            "model": self.path,
            "sampler": type(self.pipe.scheduler).__name__,
            "sampler_name": self.sampler_name,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "size": list(self._checked_size(size)),
            "layout": self.layout,
            "dtype": str(self.denoiser.dtype).removeprefix("torch."),
            "device": getattr(self.pipe, "_execution_device", self.pipe.device).type,
            "weighted": self.encoder.weighted,
            "quant": self.quant,
            "tile_vae": bool(getattr(getattr(self.pipe, "vae", None), "use_tiling", False)),
            "added": [*self.added, *self.guides.described(self.controls(controls))],
        }


def accepted(pipe: Any, schedule: dict[str, Any]) -> dict[str, Any]:
    """The steps as a pipeline of diffusers takes them.

    Raises:
        UserError: it would pass over the times of a sampler that has its own.
    """
    taken = inspect.signature(pipe.__call__).parameters
    if left := [name for name in schedule if name not in taken and name != "num_inference_steps"]:
        raise UserError(
            f"the sampler's own {left[0]} are not taken by {type(pipe).__name__}; choose another --sampler."
        )
    return schedule


def _of_size(painted: Image.Image, size: tuple[int | None, int | None]) -> Image.Image:
    """The picture at the size that was asked for; a few pipelines paint at one of their own."""
    width, height = size
    if width is None or height is None or painted.size == size:
        return painted
    return painted.resize((width, height), Image.Resampling.LANCZOS)
