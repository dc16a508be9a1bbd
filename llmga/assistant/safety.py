"""Pictures looked at and marked before they leave, where the host asks for it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from llmga.errors import UserError
from llmga.extras import require
from llmga.images import to_rgb
from llmga.runtime import pick_device

WITHHELD = "the safety checker withheld the picture; ask for another one."
SMALLEST_MARKED = 256  # pixels a side, below which the mark cannot be hidden


@dataclass(frozen=True)
class Guard:
    """What every picture passes on its way out.

    Attributes:
        unsafe: whether a picture is not to be shown.
        mark: the picture with an invisible mark.
    """

    unsafe: Callable[[Image.Image], bool] | None = None
    mark: Callable[[Image.Image], Image.Image] | None = None

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture as it may leave.

        Raises:
            UserError: it is unsafe; the sentence is `WITHHELD`.
        """
        if self.unsafe is not None and self.unsafe(image):
            raise UserError(WITHHELD)
        return image if self.mark is None else self.mark(image)


NO_GUARD = Guard()


def open_guard(checker: str | None, text: str | None, device: str = "auto") -> Guard:
    """The guard that the flags ask for.

    Args:
        checker: a folder of Stable Diffusion's safety checker, as its pipelines have it under `safety_checker`, with
            the `preprocessor_config.json` of their `feature_extractor` in it or beside it.
        text: what the watermark says.

    Raises:
        UserError: as `load_checker` and `watermark`.
    """
    return Guard(load_checker(checker, device) if checker else None, watermark(text) if text else None)


def load_checker(folder: str, device: str = "auto") -> Callable[[Image.Image], bool]:
    """Stable Diffusion's own safety checker, from a local folder.

    Raises:
        UserError: the folder is none of a safety checker.
    """
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPImageProcessorPil

    place = Path(folder)
    beside = next((at for at in (place, place.parent / "feature_extractor") if _has_processor(at)), None)
    if beside is None or not (place / "config.json").is_file():
        raise UserError(
            f"--safety-checker {folder!r} is no folder of a safety checker; give the 'safety_checker' of a pipeline, "
            "with its 'feature_extractor' beside it."
        )
    try:
        processor = CLIPImageProcessorPil.from_pretrained(beside, local_files_only=True, trust_remote_code=False)
        model = StableDiffusionSafetyChecker.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as problem:
        raise UserError(f"--safety-checker {folder!r} cannot be opened ({type(problem).__name__}).") from None
    module: torch.nn.Module = model
    module.to(pick_device(device)).eval()

    @torch.inference_mode()
    def unsafe(image: Image.Image) -> bool:
        pixels = processor([to_rgb(image)], return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
        _, found = model(clip_input=pixels, images=[np.zeros((1, 1, 3), np.float32)])
        return bool(found[0])

    return unsafe


def _has_processor(folder: Path) -> bool:
    return (folder / "preprocessor_config.json").is_file()


def watermark(text: str) -> Callable[[Image.Image], Image.Image]:
    """The text, hidden in frequencies of the picture (DWT and DCT), as Stable Diffusion's own scripts hide theirs.

    Every pixel changes a little by it, also those that an edit keeps.  Pictures of fewer than `SMALLEST_MARKED` pixels
    a side are too small to hide anything in, and stay as they are.

    Raises:
        UserError: the package is missing, or the text is too long.
    """
    imwatermark = require("imwatermark", "--watermark")
    content = text.encode()
    if not 1 <= len(content) <= 32:
        raise UserError(f"--watermark of {len(content)} bytes is out of range; use 1 to 32.")
    encoder = imwatermark.WatermarkEncoder()
    encoder.set_watermark("bytes", content)

    def mark(image: Image.Image) -> Image.Image:
        if min(image.size) < SMALLEST_MARKED:
            return image
        clear = "A" in image.getbands()
        blue_first = np.asarray(image.convert("RGB") if clear else to_rgb(image))[..., ::-1]
        marked = Image.fromarray(np.ascontiguousarray(encoder.encode(blue_first, "dwtDct")[..., ::-1]))
        if clear:
            marked.putalpha(image.getchannel("A"))
        marked.info = dict(image.info)
        return marked

    return mark
