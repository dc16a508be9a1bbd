"""A part of a picture painted anew: any size, any mode, and every pixel that is not repainted stays bit for bit."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image, ImageOps

from llmga.compositing import able_to_hold, paste_back
from llmga.deep import cropped, paste
from llmga.diffusers.canvas import AT_ONCE, stages
from llmga.diffusers.control import IP_ADAPTER, Control
from llmga.diffusers.interruption import Look, interruptible
from llmga.diffusers.latents import has_statistics, scaled
from llmga.diffusers.pipeline import OnStep, Pipeline, stage_progress
from llmga.diffusers.work_area import WorkArea, around
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.inputs import as_number, as_picture, as_seeds
from llmga.masks import read_mask
from llmga.registry import Registry

GREY = (127, 127, 127)
LANCZOS = Image.Resampling.LANCZOS

# restore(painting, picture, mask) -> painting: RGB of one size.  The painting shows the kept part as it was painted,
# too; what is painted of that in the end is nothing, since the picture's own pixels are put back.
Restore = Callable[[Image.Image, Image.Image, Image.Image], Image.Image]

# Which part of the picture the model is shown: (mask, native size) -> box.
AREAS = Registry("area", {"picture": lambda mask, native: (0, 0, *mask.size), "mask": around})


class Inpainter(Pipeline):
    """A loaded inpainting pipeline.

    A UNet of nine channels is shown the kept part; one of four, made for painting from words, is held to it by
    putting the kept part back into its latents after every step.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.adapt(self.pipe)

    def adapt(self, pipe: Any) -> None:
        """Let a pipeline encode pictures with the VAE's statistics, which its decoding follows."""
        if self.family.prompt_arguments is not None and has_statistics(pipe.vae):
            encode, vae = pipe._encode_vae_image, pipe.vae
            pipe._encode_vae_image = lambda image, generator: scaled(
                vae, encode(image, generator) / vae.config.scaling_factor
            )

    @interruptible
    def __call__(
        self,
        prompt: str,
        image: Image.Image | None = None,
        mask: Image.Image | None = None,
        *,
        seed: int = 0,
        still_wanted: Look | None = None,
        **options: Any,
    ) -> Image.Image:
        """Repaint the masked part of a picture, or paint a whole one when neither is given.

        Args:
            prompt: the whole picture as it is to be.
            image: of any size, aspect and mode; a Pillow image, a path or an array, as in `inputs.as_picture`.
            mask: of the same size: white, or transparent where anything in it is transparent, is painted anew.
            seed: as in `Pipeline.__call__`.
            still_wanted: as in `Pipeline.__call__`.
            options: as in `batch`.

        Returns:
            A picture of the same size and mode (a palette becomes RGB), identical outside the mask.

        Raises:
            UserError: for a value out of range, a mask of another size, an empty or a full one.
        """
        return self.batch(prompt, [seed], image, mask, **options)[0]

    @torch.inference_mode()
    def batch(
        self,
        prompt: str,
        seeds: Sequence[int],
        image: Image.Image | None = None,
        mask: Image.Image | None = None,
        *,
        size: tuple[int, int] | None = None,
        strength: float | None = None,
        area: str = "picture",
        soft: bool = False,
        growth: float = AT_ONCE,
        restore: Restore | None = None,
        controls: Sequence[Control] | None = None,
        on_step: OnStep | None = None,
        **options: Any,
    ) -> list[Image.Image]:
        """Several versions at once; see `__call__`.

        A mask that leaves a small rectangle in a large picture is filled in stages, each continuing the one before.

        Args:
            prompt: the whole picture as it is to be.
            seeds: one for each version.
            image: as in `__call__`.
            mask: as in `__call__`.
            size: (width, height) to work at; None is the native number of pixels at the picture's aspect.
            strength: how much of the old content is replaced by noise, above 0 to 1; None is what suits the model.
            area: a row of `AREAS`: the model is shown the whole `picture`, or only what is around the `mask`.
            soft: gray in the mask mixes old and new; otherwise a pixel is one of them.
            growth: how many times as wide or high a stage makes a picture at most, above 1.
            restore: a restorer, which makes each painting agree with what is kept, before that is put back.
            controls: as in `Pipeline.__call__`; one without a picture is about `image` itself, another's picture lies
                on `image` as a whole.
            on_step: as in `Pipeline.__call__`.
            options: as in `Pipeline.batch`.

        Returns:
            A picture for each seed, of the size and mode of `image`.

        Raises:
            UserError: as `__call__`.
            TypeError: for a keyword that no pipeline knows.
        """
        options, seeds = self._own_options(options), as_seeds(seeds)
        image, mask = as_picture(image), as_picture(mask, "mask")
        _check_pair(image, mask)
        options["strength"] = self._checked_strength(strength, options.get("steps"))
        canvas, guiding = self._checked_size(size), self.controls(controls)
        if not seeds:
            return []
        if image is None or mask is None:
            blank, everything = Image.new("RGB", canvas, GREY), Image.new("L", canvas, 255)
            options["strength"] = 1.0  # nothing is there that could shine through
            return self._fill(prompt, seeds, blank, everything, guiding, on_step=on_step, **options)
        partly = strength is not None and strength < 1  # then something of every pixel is kept
        region, shown, image = read_mask(mask, image.size, soft=soft, whole=partly), AREAS[area], able_to_hold(image)
        growth = as_number(growth, "growth")
        parts = stages(region, growth) if area == "picture" and not soft else [((0, 0, *image.size), region)]
        if len(parts) > 1 and len(seeds) > 1:  # from the second stage on, each version continues another picture
            options |= dict(size=size, strength=strength, area=area, growth=growth, restore=restore, on_step=on_step)
            options["controls"] = guiding
            return [self.batch(prompt, [seed], image, mask, **options)[0] for seed in seeds]
        for number, (box, part_mask) in enumerate(parts):
            part, seen = cropped(image, box), shown(part_mask, self.native_size)
            place = (
                WorkArea.within(seen, canvas)
                if size is not None
                else WorkArea.fitted(seen, self.native_size, self.unit)
            )
            painted = self._fill(
                prompt, seeds, place.picture_on_canvas(to_rgb(part)), place.mask_on_canvas(part_mask),
                [_placed(control, image, box, place) for control in guiding],
                on_step=stage_progress(on_step, number, len(parts)), **options,
            )  # fmt: skip
            filled = [_composed(part, place, each, part_mask, restore) for each in painted]
            versions = [_with_part(image, each, box) for each in filled]
            image = versions[0]
        return versions

    def _fill(
        self,
        prompt: str,
        seeds: Sequence[int],
        picture: Image.Image,
        mask: Image.Image,
        controls: Sequence[Control] = (),
        *,
        negative_prompt: str | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        clip_skip: int | None = None,
        on_step: OnStep | None = None,
        on_preview: Any = None,
        **arguments: Any,
    ) -> list[Image.Image]:
        """What the pipeline makes of a picture and a mask of a size that it takes."""
        width, height = picture.size
        if len(seeds) > 1 and self.family.prompt_arguments is None:  # not all of them take several noises at once
            options = dict(arguments, negative_prompt=negative_prompt, steps=steps, guidance_scale=guidance_scale)
            return [
                self._fill(prompt, [seed], picture, mask, on_preview=on_preview,
                           on_step=stage_progress(on_step, number, len(seeds)), **options)[0]
                for number, seed in enumerate(seeds)
            ]  # fmt: skip
        count = len(seeds)  # one copy for each, or all would share the noise of the first one's encoding
        return self._paint(
            prompt, negative_prompt, seeds, steps, guidance_scale, on_step, on_preview, clip_skip=clip_skip,
            controls=controls, image=[picture] * count, mask_image=[mask] * count, width=width, height=height,
            **arguments,
        )  # fmt: skip

    @property
    def strength(self) -> float:
        """Strength of a call that names none: the checkpoint's, else the family's."""
        return float(self.defaults.get("strength", self.family.strength))

    def _checked_strength(self, strength: float | None, steps: int | None) -> float:
        """The strength with its default filled in; raises UserError when it leaves no step to do."""
        steps, _ = self._checked(steps, None)
        if strength is None:
            return self.strength if int(steps * self.strength) >= 1 else 1.0
        strength = as_number(strength, "strength")
        if not 0 < strength <= 1:
            raise UserError(f"strength {strength} is out of range; use more than 0, at most 1.")
        if int(steps * strength) < 1:
            raise UserError(f"strength {strength} leaves none of {steps} steps; use more steps or a larger strength.")
        return strength

    def describe(self, *, strength: float | None = None, **options: Any) -> dict[str, Any]:
        """As `Pipeline.describe`, with the strength."""
        return super().describe(**options) | {"strength": self._checked_strength(strength, options.get("steps"))}


def _placed(control: Control, image: Image.Image, box: tuple[int, int, int, int], place: WorkArea) -> Control:
    """The control with its picture cut and scaled as the picture is that is repainted, over which it lies."""
    if control.name == IP_ADAPTER and control.image is not None:
        return control  # it says what to paint, not where
    whole = image if control.image is None else ImageOps.fit(to_rgb(control.image), image.size, LANCZOS)
    return replace(control, image=place.picture_on_canvas(to_rgb(cropped(whole, box))))


def _check_pair(image: Image.Image | None, mask: Image.Image | None) -> None:
    if (image is None) != (mask is None):
        given, lacking = ("mask", "picture") if image is None else ("picture", "mask")
        raise UserError(f"a {given} was given without a {lacking}; give both, or none to paint a whole picture.")


def _composed(
    part: Image.Image, place: WorkArea, painted: Image.Image, mask: Image.Image, restore: Restore | None
) -> Image.Image:
    """The picture with what was painted on its canvas, made to agree with what is kept around it."""
    painting = place.back(painted, part.size)
    if restore is not None:
        hole = mask.point(lambda level: 255 if level else 0)  # what a soft mask mixes in was painted, too
        seen = [cropped(picture, place.box) for picture in (painting, to_rgb(part), hole)]
        paste(painting, restore(*seen), place.box[:2])
    return paste_back(part, painting, mask)


def _with_part(image: Image.Image, part: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    if part.size == image.size:
        return part
    whole = image.copy()
    paste(whole, part, box[:2])
    return whole
