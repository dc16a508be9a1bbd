"""Whole pictures changed by a pipeline that takes them: as it is told, or towards a description."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from llmga.choices import SKIP
from llmga.compositing import able_to_hold, paste_back
from llmga.diffusers.interruption import Look, interruptible
from llmga.diffusers.pipeline import OnPreview, OnStep, Pipeline
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.inputs import as_number, as_picture
from llmga.limits import LARGEST_GUIDANCE
from llmga.masks import read_mask

LEAST = 1  # of InstructPix2Pix's guidance by the picture


class InstructionEditor(Pipeline):
    """A loaded pipeline that takes a picture and an instruction: `editor("make it night", photo)`.

    It paints every pixel anew, so that where nothing was to change the picture differs a little, too; with a mask,
    what is black in it stays bit for bit.
    """

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
        picture_guidance: float | None = None,
        skip: float = SKIP,
        size: tuple[int, int] | None = None,
        restore: Callable[[Image.Image, Image.Image, Image.Image], Image.Image] | None = None,
        on_step: OnStep | None = None,
        on_preview: OnPreview | None = None,
        still_wanted: Look | None = None,
        **options: Any,
    ) -> Image.Image:
        """Change a picture as the prompt says; without one, paint from words where the weights can.

        Args:
            prompt: the instruction.
            image: of any size and mode; a Pillow image, a path or an array, as in `inputs.as_picture`.
            mask: what may change, white; None is all of it.
            negative_prompt: as in `Pipeline.__call__`.
            seed: as in `Pipeline.__call__`.
            steps: as in `Pipeline.__call__`.
            guidance_scale: as in `Pipeline.__call__`.
            picture_guidance: how closely to keep to the picture, 1 to 100, of InstructPix2Pix; None is 1.5.
            skip: for `ImageToImage`.
            size: (width, height) to work at; None is the native number of pixels at the picture's aspect.
            restore: as in `Inpainter.batch`.
            on_step: as in `Pipeline.__call__`.
            on_preview: as in `Pipeline.__call__`.
            still_wanted: as in `Pipeline.__call__`.
            options: what pipelines for other tasks take.

        Returns:
            A picture of the same size and mode (a palette becomes RGB).

        Raises:
            UserError: for a value out of range, or when no picture is given and the weights need one.
            TypeError: for a keyword that no pipeline knows.
        """
        if image is None:
            if not self.family.from_words:
                raise UserError(f"checkpoint {self.path!r} ({self.family.name}) changes pictures and paints none from "
                                "words; give a picture (in a chat after /set edit on), or load it as --editor beside a "
                                "painter.")  # fmt: skip
            return super().__call__(
                prompt, None, mask, negative_prompt=negative_prompt, seed=seed, steps=steps, size=size,
                guidance_scale=guidance_scale, on_step=on_step, on_preview=on_preview, **options,
            )  # fmt: skip
        self._own_options(options)
        image, mask = able_to_hold(as_picture(image)), as_picture(mask, "mask")
        where = Image.new("L", image.size, 255) if mask is None else read_mask(mask, image.size)
        area = self.work_area(image.size, size)
        told = self._told(area.picture_on_canvas(to_rgb(image)), steps, skip) | self._closeness(picture_guidance)
        (painted,) = self._paint(prompt, negative_prompt, [seed], steps, guidance_scale, on_step, on_preview, **told)
        changed = area.back(painted, image.size)
        return paste_back(image, changed if restore is None else restore(changed, to_rgb(image), where), where)

    def _told(self, canvas: Image.Image, steps: int | None, skip: float) -> dict[str, Any]:
        """What the pipeline is told of the picture."""
        return {"image": canvas, "width": canvas.width, "height": canvas.height}

    def _closeness(self, picture_guidance: float | None) -> dict[str, float]:
        """The guidance by the picture; raises UserError where it is out of range, or there is none."""
        if picture_guidance is None:
            return {}
        if "image_guidance_scale" not in inspect.signature(self.pipe.__call__).parameters:
            raise UserError(f"picture guidance {picture_guidance} cannot be followed: it is for InstructPix2Pix, and "
                            f"{self.path!r} is {self.family.name}; leave out --picture-guidance.")  # fmt: skip
        picture_guidance = as_number(picture_guidance, "picture guidance")
        if not LEAST <= picture_guidance <= LARGEST_GUIDANCE:
            raise UserError(f"picture guidance {picture_guidance} is out of range; use {LEAST} to {LARGEST_GUIDANCE}.")
        return {"image_guidance_scale": picture_guidance}


class ImageToImage(InstructionEditor):
    """A loaded pipeline that paints a picture anew from where noise has not yet covered all of it."""

    def _told(self, canvas: Image.Image, steps: int | None, skip: float) -> dict[str, Any]:
        return super()._told(canvas, steps, skip) | {"strength": self._strength(steps, skip)}

    def _strength(self, steps: int | None, skip: float) -> float:
        """Share of the steps that are taken; raises UserError when none is."""
        steps, _ = self._checked(steps, None)
        skip = as_number(skip, "skip")
        if not 0 <= skip < 1:
            raise UserError(f"skip {skip} is out of range; use 0 to below 1.")
        if int(steps * (1 - skip)) < 1:
            raise UserError(f"skip {skip} leaves none of {steps} steps; use more steps or a smaller --skip.")
        return 1 - skip
