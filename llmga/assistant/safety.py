"""Pictures looked at, marked and signed before they leave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from llmga.assistant.credentials import Signer
from llmga.choices import WATERMARK
from llmga.errors import UserError
from llmga.extras import require
from llmga.images import to_rgb
from llmga.runtime import pick_device

WITHHELD = "the safety checker withheld the picture; ask for another one."
SMALLEST_MARKED = 256  # pixels a side, below which the mark cannot be hidden
LONGEST_MARK = 32  # bytes
READABLE = 0.9  # share of a text's bits that tells it from chance: of 40 bits, once in ten million pictures
METHOD = "dwtDctSvd"  # unlike "dwtDct", it outlives JPEG


@dataclass(frozen=True)
class Watermark:
    """A text hidden in frequencies of a picture (DWT, DCT and singular values), by the package invisible-watermark.

    Attributes:
        text: 1 to 32 bytes.
    """

    text: str

    @classmethod
    def of(cls, text: str) -> "Watermark":
        """Raises: UserError where the package is missing, or the text is too long."""
        require("imwatermark", "--watermark")
        if not 1 <= len(text.encode()) <= LONGEST_MARK:
            raise UserError(f"--watermark of {len(text.encode())} bytes is out of range; use 1 to {LONGEST_MARK}.")
        return cls(text)

    def __call__(self, image: Image.Image, painted: Image.Image | None = None) -> Image.Image:
        """The picture with the mark; the picture itself below `SMALLEST_MARKED` pixels a side.

        Args:
            painted: mode L and of the picture's size, 0 where every pixel stays as it is; another size is of a picture
                that was enlarged since, in which none was kept.
        """
        if min(image.size) < SMALLEST_MARKED:
            return image
        encoder = require("imwatermark", "--watermark").WatermarkEncoder()
        encoder.set_watermark("bytes", self.text.encode())
        clear = "A" in image.getbands()
        blue_first = np.asarray(image.convert("RGB") if clear else to_rgb(image))[..., ::-1]
        marked = Image.fromarray(np.ascontiguousarray(encoder.encode(blue_first, METHOD)[..., ::-1]))
        if clear:
            marked.putalpha(image.getchannel("A"))
        if painted is not None and painted.size == image.size:
            marked = Image.composite(marked, image.convert(marked.mode), painted.point(lambda level: 255 * (level > 0)))
        marked.info = dict(image.info)
        return marked

    def found_in(self, image: Image.Image) -> float:
        """Which share of the text's bits can be read in a picture; about a half by chance."""
        wanted = np.unpackbits(np.frombuffer(self.text.encode(), np.uint8))
        decoder = require("imwatermark", "to look for a watermark").WatermarkDecoder("bits", len(wanted))
        read = decoder.decode(np.ascontiguousarray(np.asarray(to_rgb(image))[..., ::-1]), METHOD)
        return float((np.asarray(read, bool) == wanted.astype(bool)).mean())


def _has_watermarks() -> bool:
    return find_spec("imwatermark") is not None


@dataclass(frozen=True)
class Guard:
    """What every picture passes on its way out.

    Attributes:
        unsafe: whether a picture is not to be shown.
        watermark: the invisible mark of pictures.
        signer: what signs their files.
    """

    unsafe: Callable[[Image.Image], bool] | None = None
    watermark: Watermark | None = None
    signer: Signer | None = None

    def __call__(self, image: Image.Image, painted: Image.Image | None = None) -> tuple[Image.Image, str | None]:
        """The picture as it may leave, and the text that is hidden in it.

        Args:
            painted: mode L, 0 where pixels are kept as they were, which the mark spares.

        Raises:
            UserError: it is unsafe; the sentence is `WITHHELD`.
        """
        if self.unsafe is not None and self.unsafe(image):
            raise UserError(WITHHELD)
        if self.watermark is None or min(image.size) < SMALLEST_MARKED:
            return image, None
        return self.watermark(image, painted), self.watermark.text


NO_GUARD = Guard()


def open_guard(
    checker: str | None,
    text: str | None,
    device: str = "auto",
    c2pa: Sequence[str | Path] | None = None,
    c2pa_prompt: bool = False,
) -> Guard:
    """The guard that the flags ask for.

    Args:
        checker: a folder of Stable Diffusion's safety checker, as its pipelines have it under `safety_checker`, with
            the `preprocessor_config.json` of their `feature_extractor` in it or beside it.
        text: what the watermark says; None hides none, and `WATERMARK` none where the package is not installed.
        c2pa: files of the certificates and of the key that sign pictures.
        c2pa_prompt: the signed statements hold the prompt.

    Raises:
        UserError: as `load_checker`, `Watermark.of` and `Signer.open`.
    """
    hidden = None if text is None or (text == WATERMARK and not _has_watermarks()) else Watermark.of(text)
    signer = None if c2pa is None else Signer.open(*c2pa, prompt=c2pa_prompt)
    return Guard(load_checker(checker, device) if checker else None, hidden, signer)


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
