"""The pipeline that changes a picture by words: see `editing`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from llmga.choices import RATIO, SKIP
from llmga.compositing import able_to_hold, paste_back
from llmga.diffusers.editing import Predict, difference_mask, edit_timesteps, follow, invert
from llmga.diffusers.interruption import Look, interruptible
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.long_prompt import encode_prompt
from llmga.diffusers.memory import execution_device
from llmga.diffusers.noise import training_schedule
from llmga.diffusers.pipeline import OnStep, Pipeline, stage_progress
from llmga.diffusers.work_area import WorkArea
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.inputs import as_number, as_picture, as_text, as_whole
from llmga.masks import read_mask

STEPS, MAPS = 50, 10
SOURCE_GUIDANCE, GUIDANCE = 3.5, 7.5


def prediction(unet: Any, embeds: Tensor, conditions: Any) -> Predict:
    """A UNet under a prompt.

    Args:
        unet: as diffusers has it.
        embeds: of the negative prompt and the prompt, (2, positions, width).
        conditions: its `added_cond_kwargs` for both, None for a family without.
    """

    def predict(latents: Tensor, time: int) -> tuple[Tensor, Tensor]:
        both = unet(torch.cat([latents, latents]).to(embeds.dtype), time, embeds, added_cond_kwargs=conditions).sample
        without, prompted = both.to(latents.dtype).chunk(2)
        return without, prompted

    return predict


def _both_sides(negative: Tensor | None, positive: Tensor | None, prompts: int) -> list[Any]:
    """For each prompt its negative and its positive side, (2, …), or None."""
    if negative is None or positive is None:
        return [None] * prompts
    return list(torch.stack([negative, positive], dim=1))


class Editor(Pipeline):
    """A text-to-image pipeline that also changes a picture by words.

    Raises:
        UserError: for a checkpoint that has no schedule of betas, see `noise`.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.schedule: Any = training_schedule(self.own_scheduler)

    @interruptible
    @torch.inference_mode()
    def __call__(
        self,
        prompt: str,
        image: Image.Image | None = None,
        mask: Image.Image | None = None,
        *,
        source_prompt: str = "",
        negative_prompt: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        clip_skip: int | None = None,
        source_guidance: float = SOURCE_GUIDANCE,
        skip: float = SKIP,
        ratio: float = RATIO,
        size: tuple[int, int] | None = None,
        restore: Callable[[Image.Image, Image.Image, Image.Image], Image.Image] | None = None,
        on_step: OnStep | None = None,
        still_wanted: Look | None = None,
        **options: Any,
    ) -> Image.Image:
        """Change what the prompts say differently; without a picture, paint one from words.

        Args:
            prompt: the picture after the change.
            image: of any size and mode; a Pillow image, a path or an array, as in `inputs.as_picture`.
            mask: what may change, white; None finds it out.
            source_prompt: the picture as it is.
            negative_prompt: as in `Pipeline.__call__`.
            seed: as in `Pipeline.__call__`.
            steps: each way, 2 to 749 with `skip` at .25; None is 50.
            guidance_scale: of the new prompt, 0 to 100; None is 7.5.
            clip_skip: as in `Pipeline.__call__`, of both prompts.
            source_guidance: of `source_prompt`, 0 to 100.
            skip: share of the way to pure noise that is left out, 0 to below 1; more stays closer to the picture.
            ratio: above 0; a smaller one changes a larger part, see `editing.difference_mask`.
            size: (width, height) to work at; None is the native number of pixels at the picture's aspect.
            restore: as in `Inpainter.batch`.
            on_step: as in `Pipeline.__call__`.
            still_wanted: as in `Pipeline.__call__`.
            options: what pipelines for other tasks take.

        Returns:
            A picture of the same size and mode (a palette becomes RGB), identical outside the changed part.

        Raises:
            UserError: for a value out of range, or when the prompts do not differ anywhere.
            TypeError: for a keyword that no pipeline knows.
        """
        if image is None:
            return super().__call__(
                prompt, None, mask, negative_prompt=negative_prompt, seed=seed, steps=steps, size=size,
                guidance_scale=guidance_scale, clip_skip=clip_skip, on_step=on_step, **options,
            )  # fmt: skip
        self._check_unguided(self._own_options(options))
        texts = [as_text(source_prompt, "source prompt"), as_text(prompt)]
        image, mask = able_to_hold(as_picture(image)), as_picture(mask, "mask")
        allowed = mask and read_mask(mask, image.size)
        _, scale = self._checked(None, GUIDANCE if guidance_scale is None else guidance_scale)
        _, source_guidance = self._checked(None, source_guidance)
        ratio = as_number(ratio, "ratio")
        times = self._times(STEPS if steps is None else steps, skip)
        area, generator = self.work_area(image.size, size), self._generator(seed)
        mean, std = self._encoded(area.picture_on_canvas(to_rgb(image)))
        source, target = self._predictions(texts, negative_prompt, area.canvas, self.checked_clip_skip(clip_skip))
        if allowed is None:
            changed = self._difference(source, target, mean, std, generator, ratio)
        else:
            changed = self._on_latents(area.mask_on_canvas(allowed), mean.shape[-2:])
        clean = scaled(self.pipe.vae, mean)
        noise = torch.randn(len(times), *clean.shape, generator=generator).to(clean.device)
        path = invert(source, self.schedule, clean, noise, times, source_guidance,
                      on_step=stage_progress(on_step, 0, 2))  # fmt: skip
        latents = follow(target, self.schedule, path, changed, scale, on_step=stage_progress(on_step, 1, 2))
        painted = area.back(self._decoded(latents.to(self.denoiser.dtype))[0], image.size)
        where = allowed or self._on_pixels(changed, area, image.size)
        return paste_back(image, painted if restore is None else restore(painted, to_rgb(image), where), where)

    def _check_unguided(self, options: dict[str, Any]) -> None:
        """Raises: UserError when pictures are to guide a change by words."""
        if options.get("controls") or self.guides.picture_prompt is not None:
            raise UserError("a picture is changed by words alone here, without controls and with no IP-Adapter loaded; "
                            "mark the part to be painted anew, or leave them out.")  # fmt: skip

    def describe(self, *, source_prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """As `Pipeline.describe`; with the prompt of a picture that is changed, which other defaults are for."""
        if source_prompt is not None:
            given = {name: value for name, value in options.items() if value is not None}
            options = {"steps": STEPS, "guidance_scale": GUIDANCE} | given
            self._times(options["steps"], options.get("skip", SKIP))
            self._check_unguided(options)
        return super().describe(**options)

    def _times(self, steps: int, skip: float) -> list[int]:
        """The timesteps each way; raises UserError when they are out of range."""
        total = self.schedule.config.num_train_timesteps
        return edit_timesteps(as_whole(steps, "steps"), as_number(skip, "skip"), total)

    def _encoded(self, picture: Image.Image) -> tuple[Tensor, Tensor]:
        return posterior(self.pipe.vae, self.pipe.image_processor.preprocess(picture))

    def _predictions(
        self, prompts: Sequence[str], negative: str | None, size: tuple[int, int], clip_skip: int
    ) -> list[Predict]:
        """The UNet under each prompt, all padded to one length: they should differ in what they say only."""
        negatives = None if negative is None else [as_text(negative, "negative prompt")] * len(prompts)
        weighted = self.encoder.weighted
        words = encode_prompt(self.pipe, prompts, negatives, self.layout, weighted=weighted, clip_skip=clip_skip)
        device = execution_device(self.denoiser)
        time_ids = torch.tensor([[size[1], size[0], 0, 0, size[1], size[0]]] * 2, device=device)
        conditions_of = self.family.conditions or (lambda pooled, time_ids: None)
        sides = _both_sides(words.negative_embeds, words.embeds, len(prompts))
        pooled = _both_sides(words.negative_pooled, words.pooled, len(prompts))
        return [
            prediction(self.denoiser, embeds, conditions_of(vector, time_ids))
            for embeds, vector in zip(sides, pooled, strict=True)
        ]

    def _difference(
        self, source: Predict, target: Predict, mean: Tensor, std: Tensor, generator: torch.Generator, ratio: float
    ) -> Tensor:
        shape = (MAPS, *mean.shape[1:])
        draws, noise = (torch.randn(shape, generator=generator).to(mean.device) for _ in range(2))
        middle = self.schedule.config.num_train_timesteps // 2
        share = self.schedule.alphas_cumprod[middle].to(mean.device)
        noisy = share.sqrt() * scaled(self.pipe.vae, mean + std * draws) + (1 - share).sqrt() * noise
        mask, maps = difference_mask(source, target, noisy, middle, scale=GUIDANCE, ratio=ratio)
        if not maps.any():
            raise UserError("the prompt of the change is that of the picture, so there is nothing to change; say what "
                            "is to be different.")  # fmt: skip
        if not mask.any():
            raise UserError(f"the change is everywhere alike, so with --ratio {ratio:g} no part stands out; use a "
                            "smaller --ratio, or a mask.")  # fmt: skip
        return mask

    def _on_latents(self, mask: Image.Image, shape: Sequence[int]) -> Tensor:
        """The mask at the latents' size, 1 wherever any pixel is marked."""
        marked = torch.from_numpy(np.asarray(mask) / np.float32(255))[None]
        return torch.nn.functional.adaptive_max_pool2d(marked, list(shape))[0].to(execution_device(self.denoiser))

    @staticmethod
    def _on_pixels(changed: Tensor, area: WorkArea, size: tuple[int, int]) -> Image.Image:
        """The mask at the picture's size."""
        small = Image.fromarray((changed.cpu().numpy() > 0).astype(np.uint8) * 255)
        on_canvas = small.resize(area.canvas, Image.Resampling.NEAREST)
        return area.back(on_canvas, size, Image.Resampling.NEAREST)
