"""Prompt in, picture out: stock diffusers pipelines, fed with embeddings of text of any length."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from llmga.diffusers.checkpoints import DEFAULTS_FILE, find_checkpoint, open_pipeline, read_index, read_json
from llmga.diffusers.families import Family
from llmga.diffusers.latents import decode
from llmga.diffusers.long_prompt import LAYOUTS, PromptEmbeddings, encode_prompt, encode_texts
from llmga.diffusers.sd15 import SD15
from llmga.diffusers.sdxl import SDXL
from llmga.errors import UserError
from llmga.registry import Registry
from llmga.runtime import pick_device, pick_dtype

GENERATORS = Registry("generator", {family.name: family for family in (SDXL, SD15)})
SMALLEST_SIDE, LARGEST_SIDE = 16, 2048
SEEDS = 2**63


class Generator:
    """A loaded pipeline that paints one picture for each call.

    Args:
        defaults: `steps`, `guidance_scale` and `layout` (of `LAYOUTS`) that the checkpoint prefers, all optional.
    """

    def __init__(self, pipeline: Any, family: Family, *, path: str = "", defaults: dict[str, Any] | None = None):
        self.pipeline = pipeline
        self.family = family
        self.path = path
        defaults = defaults or {}
        self.steps: int = defaults.get("steps", family.steps)
        self.guidance_scale: float = defaults.get("guidance_scale", family.guidance_scale)
        self.layout: str = defaults.get("layout", "joined")
        pipeline.set_progress_bar_config(disable=True)

    @property
    def native_size(self) -> tuple[int, int]:
        """Width and height in pixels that the UNet was made for."""
        side = self.pipeline.unet.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        return width * self.pipeline.vae_scale_factor, height * self.pipeline.vae_scale_factor

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
        size: tuple[int, int] | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Image.Image:
        """Paint one picture; the same arguments give the same bytes on a CPU.

        Args:
            image: not used by a family that paints from words.
            mask: an error in a family that paints from words.
            size: (width, height) in pixels, None for the native one.
            on_step: called with (step, total) after each step; what it raises stops the painting.

        Raises: UserError for a value out of range.
        """
        if mask is not None:
            raise UserError(f"checkpoint {self.path!r} ({self.family.name}) paints from words only and takes no mask; "
                            "choose an inpainting checkpoint.")  # fmt: skip
        steps, guidance_scale, (width, height) = self._checked(steps, guidance_scale, size)
        if not 0 <= seed < SEEDS:
            raise UserError(f"seed {seed} is out of range; use 0 to {SEEDS - 1}.")
        latents = self.pipeline(
            **self.family.prompt_arguments(self._encode(prompt, negative_prompt, guidance_scale)),
            width=width,
            height=height,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            # Drawn on the CPU whatever the device, so that a seed means one picture everywhere.
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="latent",
            callback_on_step_end=_reporter(on_step),
        ).images
        return self.pipeline.image_processor.postprocess(decode(self.pipeline.vae, latents).float())[0]

    def _encode(self, prompt: str, negative_prompt: str | None, guidance_scale: float) -> PromptEmbeddings:
        if guidance_scale <= 1:  # the pipeline then looks at no negative side
            return PromptEmbeddings(*encode_texts(self.pipeline, [prompt], self.layout))
        negatives = None if negative_prompt is None else [negative_prompt]
        return encode_prompt(self.pipeline, [prompt], negatives, self.layout)

    def _checked(
        self, steps: int | None, guidance_scale: float | None, size: tuple[int, int] | None
    ) -> tuple[int, float, tuple[int, int]]:
        """The values with defaults filled in; raises UserError when one is out of range."""
        steps = self.steps if steps is None else steps
        guidance_scale = self.guidance_scale if guidance_scale is None else guidance_scale
        most = self.pipeline.scheduler.config.num_train_timesteps
        if not 1 <= steps <= most:
            raise UserError(f"{steps} steps are out of range; use 1 to {most}.")
        if not 0 <= guidance_scale < float("inf"):
            raise UserError(f"guidance scale {guidance_scale} is out of range; use 0 or more.")
        return steps, guidance_scale, self._checked_size(size)

    def _checked_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if size is None:
            return self.native_size
        unit = max(8, self.pipeline.vae_scale_factor)  # the pipelines themselves ask for multiples of 8
        for side in size:
            if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
                raise UserError(f"size {side} is out of range; use {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side.")
            if side % unit:
                below = side // unit * unit
                nearest = [s for s in (below, below + unit) if SMALLEST_SIDE <= s <= LARGEST_SIDE]
                raise UserError(f"size {side} is not a multiple of {unit}; use {' or '.join(map(str, nearest))}.")
        return size

    def describe(
        self,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """What a picture's record says about its painter; values left out are the ones a call would use."""
        steps, guidance_scale, size = self._checked(steps, guidance_scale, size)
        return {
            "family": self.family.name,
            "model": self.path,
            "sampler": type(self.pipeline.scheduler).__name__,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "size": list(size),
            "layout": self.layout,
            "dtype": str(self.pipeline.unet.dtype).removeprefix("torch."),
        }


def _reporter(on_step: Callable[[int, int], None] | None) -> Callable[..., dict] | None:
    if on_step is None:
        return None

    def report(pipeline: Any, step: int, timestep: Any, tensors: dict) -> dict:
        on_step(step + 1, pipeline.num_timesteps)
        return {}

    return report


def load_generator(
    path: str | Path, *, name: str | None = None, device: str = "auto", dtype: str | None = None
) -> Generator:
    """Open a diffusers folder.

    Args:
        path: a folder, its bare name under checkpoints/Inference or checkpoints/Training, or a hub name.
        name: a row of `GENERATORS`; None picks it by the pipeline class in `model_index.json`.
        dtype: fp32, fp16 or bf16; None is what suits the device.

    Raises: UserError.
    """
    place = pick_device(device)
    folder = find_checkpoint(path)
    index = read_index(folder)
    family = GENERATORS[name] if name else family_of(index.get("_class_name"), folder)
    defaults = read_defaults(folder)
    pipeline = open_pipeline(folder, family.load_pipeline_class(), pick_dtype(dtype, place)).to(place)
    return Generator(pipeline, family, path=str(path), defaults=defaults)


def family_of(class_name: str | None, folder: Path) -> Family:
    """The row whose pipeline class a checkpoint names; raises UserError when none does."""
    for family in GENERATORS.values():
        if family.pipeline_class == class_name:
            return family
    known = ", ".join(family.pipeline_class for family in GENERATORS.values())
    raise UserError(f"checkpoint {str(folder)!r} is a {class_name}; supported are {known}.")


def read_defaults(folder: Path) -> dict[str, Any]:
    """A checkpoint's own `generation_defaults.json`, such as {"steps": 20, "guidance_scale": 3.0}; {} without one.

    Raises: UserError for an unknown key or layout, or a value of a wrong type.
    """
    path = folder / DEFAULTS_FILE
    if not path.is_file():
        return {}
    defaults = read_json(path)
    kinds = {"steps": int, "guidance_scale": (int, float), "layout": str}
    for key, value in defaults.items():
        if key not in kinds or isinstance(value, bool) or not isinstance(value, kinds[key]):
            raise UserError(f"{str(path)!r} states {key} = {value!r}; it may hold {', '.join(kinds)} of their types.")
    LAYOUTS[defaults.get("layout", "joined")]
    return defaults
