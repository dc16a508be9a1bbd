"""The DiffRIR restorer: a network, the windows in which it sees a picture, and what is kept of the original."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from llmga.choices import OVERLAP, TILE
from llmga.diffrir.blending import blended
from llmga.diffrir.checkpoints import load_model
from llmga.diffrir.layers import PRIOR_WIDTH
from llmga.diffrir.matching import matched, surroundings
from llmga.diffrir.model import Stage2
from llmga.diffrir.tiles import TiledInput, check_tiling, restored_bands, to_levels
from llmga.errors import UserError
from llmga.inputs import as_pictures
from llmga.runtime import pick_device

PAINTED = 128  # a mask's level from which on a pixel counts as painted: half of 255, as published
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class DiffRIR:
    """A restorer: `restorer(image, reference, mask) -> image`, the same seed giving the same picture.

    Args:
        model: a stage-2 network in evaluation mode.
        seed: of the noise that each picture's prior begins with.
        tile: side of a window in output pixels, a multiple of 32; 0 takes the whole picture at once.
        overlap: of windows, in output pixels, a multiple of 32, at most half a tile.
        soft: composite by the mask's levels instead of its upper half, for feathered masks; level 0 stays identical.
    """

    def __init__(self, model: Stage2, *, seed: int = 0, tile: int = TILE, overlap: int = OVERLAP, soft: bool = False):
        check_tiling(tile, overlap)
        self.model = model
        self.seed = seed
        self.tile = tile
        self.overlap = overlap
        self.soft = soft

    @property
    def scale(self) -> int:
        """Sides of the result over sides of the picture."""
        return self.model.config.scale

    def __call__(
        self, image: Image.Image, reference: Image.Image | None = None, mask: Image.Image | None = None
    ) -> Image.Image:
        """One picture; without a reference or a mask nothing is known of the original.

        Raises:
            UserError: when sizes do not fit.
        """
        image, reference, mask = as_pictures(image, reference, mask)
        return self.many([image], [reference], [mask])[0]

    def many(
        self,
        images: Sequence[Image.Image],
        references: Sequence[Image.Image | None],
        masks: Sequence[Image.Image | None],
    ) -> list[Image.Image]:
        """Pictures of one size at once; each comes out as it would alone.

        Raises:
            UserError: when sizes do not fit.
        """
        originals, coverages, exact = self._known(images, references, masks)
        lq = _channels_first(np.stack([np.asarray(_in_mode(image, "RGB")) for image in images]))
        known, hole = _channels_first(originals), torch.from_numpy(coverages >= PAINTED)[:, None]
        pictures = TiledInput(matched(lq, known, hole) if self.model.config.matched else lq, known, hole)
        outputs = np.empty_like(originals)
        for rows, band in restored_bands(self.model, pictures, self._noise(len(images)), self.tile, self.overlap):
            restored = to_levels(band)
            composited = self._composite(restored, originals[:, rows], coverages[:, rows])
            outputs[:, rows] = np.where(exact[:, None, None, None], composited, restored)
        if self.model.config.matched and self.scale == 1 and not self.soft:
            for each in np.flatnonzero(exact):
                self._blend(outputs[each], pictures.lq[each], originals[each], coverages[each] >= PAINTED)
        return [Image.fromarray(output) for output in outputs]

    def _blend(self, output: np.ndarray, levelled: Tensor, original: np.ndarray, hole: np.ndarray) -> None:
        """Smooth the seam of one restored picture (H, W, 3) in place; what was levelled shows the painting's side."""
        if hole.all() or not hole.any():
            return
        box = surroundings(hole)
        inside, known = hole[box], original[box].astype(np.float32)
        beside = levelled.permute(1, 2, 0)[box].numpy() * np.float32(255)
        painted = np.where(inside[..., None], output[box], beside).astype(np.float32)
        output[box][inside] = blended(painted, known, ~inside)[inside].round().clip(0, 255)

    def _noise(self, count: int) -> Tensor:
        """Drawn on the CPU and the same for each picture, so that neither device nor batch changes a picture."""
        noise = torch.randn(1, PRIOR_WIDTH, generator=torch.Generator().manual_seed(self.seed))
        return noise.expand(count, -1).to(next(self.model.parameters()).device)

    def _known(
        self,
        images: Sequence[Image.Image],
        references: Sequence[Image.Image | None],
        masks: Sequence[Image.Image | None],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Originals (B, H, W, 3) and levels of masks (B, H, W) at the output's size; which originals are exact (B,)."""
        given = [self._fitted(*three) for three in zip(images, references, masks, strict=True)]
        originals, coverages = (np.stack([np.asarray(each[place]) for each in given]) for place in (0, 1))
        return originals, coverages, np.array([exact for _, _, exact in given])

    def _fitted(
        self, image: Image.Image, reference: Image.Image | None, mask: Image.Image | None
    ) -> tuple[Image.Image, Image.Image, bool]:
        """Reference and mask at the output's size; whether the reference was of that size."""
        size = (image.width * self.scale, image.height * self.scale)
        if reference is None or mask is None:
            return Image.new("RGB", size), Image.new("L", size, 255), False
        for name, given in (("reference", reference), ("mask", mask)):
            if given.size not in (size, image.size):
                raise UserError(_wrong_size(name, given.size, image.size, size))
        fitted = _of_size(_in_mode(reference, "RGB"), size, Image.Resampling.LANCZOS)
        return fitted, _of_size(_in_mode(mask, "L"), size, Image.Resampling.NEAREST), reference.size == size

    def _composite(self, restored: np.ndarray, originals: np.ndarray, coverages: np.ndarray) -> np.ndarray:
        """Restored where painted; elsewhere the original's own bytes."""
        if not self.soft:
            return np.where((coverages >= PAINTED)[..., None], restored, originals)
        share = (coverages / np.float32(255))[..., None]
        return (restored * share + originals * (1 - share)).round().astype(np.uint8)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Without the copy that `convert` makes of what is in the mode already."""
    return image if image.mode == mode else image.convert(mode)


def _of_size(image: Image.Image, size: tuple[int, int], way: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, way)


def _channels_first(pictures: np.ndarray) -> Tensor:
    """(B, H, W, 3) seen as (B, 3, H, W)."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def _wrong_size(name: str, given: tuple[int, int], image: tuple[int, int], wanted: tuple[int, int]) -> str:
    shown = ["{}x{}".format(*size) for size in (given, image, wanted)]
    either = f"{shown[2]}, the output's size" + ("" if image == wanted else f", or {shown[1]}, the picture's")
    return f"the {name} is {shown[0]}, but the picture is {shown[1]}; give a {name} of {either}."


def pick_restoration_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """`None` means bf16 on CUDA and fp32 elsewhere.

    Raises:
        UserError: for fp16, whose range the network exceeds.
    """
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise UserError(f"number format {name!r} is not possible in restoration; use one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def open_diffrir(
    path: str | Path, scale: int | None = None, *, device: str = "auto", dtype: str | None = None, **options: Any
) -> DiffRIR:
    """A restorer from weights on disk; `options` are those of `DiffRIR`.

    Raises:
        UserError: when the weights are missing, damaged or of another scale, and for fp16.
    """
    place = pick_device(device)
    number_format = pick_restoration_dtype(dtype, place)
    model = load_model(path, scale=scale, stage=2, device=place, dtype=number_format)
    assert isinstance(model, Stage2)
    return DiffRIR(model, **options)
