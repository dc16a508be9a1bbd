"""Pictures painted on the way, by the pipeline that will serve: words become pictures, holes are filled."""

from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.datasets.framing import Framed, frame
from llmga.diffusers.datasets.holes import hole
from llmga.diffusers.datasets.shapes import Shapes
from llmga.diffusers.families import INPAINTING, Family
from llmga.diffusers.pipelines import PIPELINE_CLASSES, read_defaults
from llmga.diffusers.train.config import Stage2Config
from llmga.training.skipped import Unreadable
from llmga.training.stream import HOLE, seed_of


class SampleImages:
    """Paints the same records with the same seeds and holes every time, so that two steps can be compared.

    Args:
        pipe: of the task's class; what learns in it is what is judged.
        base: the folder whose defaults (steps, guidance) count.
    """

    def __init__(
        self, config: Stage2Config, pipe: Any, base: Path, family: Family, records: CaptionedImages, shapes: Shapes
    ):
        self.config = config
        self.pipe = pipe
        self.family = family
        self.defaults: dict[str, Any] = read_defaults(base) | {"layout": config.layout}
        self.records = records
        self.shapes = shapes
        count = min(config.validation_pictures, len(records))
        self.indices: list[int] = np.linspace(0, len(records) - 1, count).round().astype(int).tolist()

    def paint(self, step: int) -> Path:
        """Write the pictures and their captions to `validation/step-N` below the run's folder."""
        folder = Path(self.config.run) / "validation" / f"step-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        pipeline = PIPELINE_CLASSES[self.family.task](self.pipe, self.family, path=str(folder), defaults=self.defaults)
        captions = [self.records.caption(index, Random(0)) for index in self.indices]
        for number, (index, caption) in enumerate(zip(self.indices, captions, strict=True)):
            with suppress(Unreadable):  # training passes over a damaged picture, too, and tells it
                self._painted(pipeline, index, caption, seed=number).save(folder / f"{number:03d}.png")
        (folder / "captions.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
        return folder

    def _painted(self, pipeline: Any, index: int, caption: str, seed: int) -> Image.Image:
        height, width = self.shapes[index]
        with torch.random.fork_rng(devices=[]):
            if self.family.task != INPAINTING:
                return pipeline(caption, seed=seed, size=(width, height))
            framed = frame(
                self.records.picture(index), (height, width), center_crop=True, flip=False, rng=Random(0),
                mask=self.records.mask(index),
            )  # fmt: skip
            return pipeline(caption, _picture(framed.pixels), self._mask(framed, seed), seed=seed, size=(width, height))

    def _mask(self, framed: Framed, seed: int) -> Image.Image:
        """The record's own mask, or a drawn one that leaves something of the picture."""
        if framed.mask is not None and 0 < framed.mask.mean() < 1:
            return Image.fromarray((framed.mask[0].numpy() * 255).astype(np.uint8))
        height, width = framed.pixels.shape[1:]
        rng = np.random.default_rng(seed_of(self.config.seed, HOLE, seed, 1))
        return Image.fromarray(hole((width, height), rng, whole=0, scale=self.config.mask_scale))


def _picture(pixels: Tensor) -> Image.Image:
    """float (3, height, width) in [-1, 1] -> RGB."""
    return Image.fromarray(((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
