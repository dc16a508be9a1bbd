"""The pictures of a job: opened, and the result written with all that the original has beyond 8 bits of RGB."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from llmga.compositing import paste_back
from llmga.deep import into_png, levels, of_levels, tiff
from llmga.diffrir.jobs import RestoreJob
from llmga.diffrir.restorer import PAINTED
from llmga.errors import UserError
from llmga.files import write_whole
from llmga.images import open_image, to_rgb


@dataclass(frozen=True)
class Original:
    """What a painted picture is to agree with; its transparency and depth go into the result.

    Attributes:
        reference: RGB, what is kept outside the mask.
        mask: mode L, levels from `PAINTED` on were painted.
        alpha: the reference's transparency, if it has any.
        deep: the reference as its file has it, when that has 16 bits a channel.
    """

    reference: Image.Image
    mask: Image.Image
    alpha: Image.Image | None = None
    deep: Image.Image | None = None

    @property
    def painted(self) -> Image.Image:
        """The mask, black and white."""
        return self.mask.point(lambda level: 255 if level >= PAINTED else 0)


@dataclass(frozen=True)
class JobImages:
    """The pictures of a job.

    Attributes:
        image: the painted picture, RGB.
        original: None where the whole picture is enlarged.
        profile: the colour profile of the result.
    """

    image: Image.Image
    original: Original | None
    profile: bytes | None

    @property
    def given(self) -> tuple[Image.Image, Image.Image | None, Image.Image | None]:
        """What a restorer is called with: image, reference, mask."""
        return self.image, *((None, None) if self.original is None else (self.original.reference, self.original.mask))

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each picture."""
        return tuple(part.size for part in self.given if part is not None)


def open_job(job: RestoreJob) -> JobImages:
    """Open the pictures of a job.

    Raises:
        UserError: when a file is missing or no picture, and when the mask covers nothing or everything.
    """
    paths = job.original()
    image = open_image(job.image, working_side=None)
    if paths is None:
        return JobImages(image, None, _open_reference(job.image)[2])
    mask = _open_mask(paths[1])
    reference, alpha, profile = _open_reference(paths[0])
    covered = np.asarray(mask) >= PAINTED
    if not covered.any():
        raise UserError(f"mask {str(paths[1])!r} is empty, so nothing was painted; make the painted region white.")
    if covered.all():
        raise UserError(f"mask {str(paths[1])!r} covers the whole picture, so nothing is kept to agree with; "
                        "make the kept region black.")  # fmt: skip
    deep = _with_gray_levels(open_image(paths[0], exact=True))
    if (values := levels(deep)) is None:
        return JobImages(image, Original(reference, mask, alpha), profile)
    fine = open_image(job.image, exact=True)
    original = Original(of_levels(values[..., :3]), mask, alpha, deep)
    return JobImages(fine if fine.mode == "RGB" else image, original, profile)


def _with_gray_levels(original: Image.Image) -> Image.Image:
    """A gray original of 16 bits in RGB, which what is painted into it may need; all others as they are."""
    if not original.mode.startswith("I;16"):
        return original
    gray = np.asarray(original).astype(np.uint16)
    return of_levels(np.stack([gray] * 3, axis=-1), original.info)


def _open_mask(path: Path) -> Image.Image:
    """Levels from 0 to 255; where a mask is transparent nothing was painted."""
    drawn = open_image(path, exact=True)
    if not drawn.has_transparency_data:
        return to_rgb(drawn).convert("L")
    whole = drawn.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, (0, 0, 0, 255)), whole).convert("L")


def _open_reference(path: Path) -> tuple[Image.Image, Image.Image | None, bytes | None]:
    """The original in RGB, its transparency as it is instead of laid over white, and its colour profile."""
    original = open_image(path, exact=True)
    profile = original.info.get("icc_profile") if original.mode in ("RGB", "RGBA", "P") else None
    if not original.has_transparency_data:
        return to_rgb(original), None, profile
    whole = original.convert("RGBA")
    return whole.convert("RGB"), whole.getchannel("A"), profile


def save(images: JobImages, restored: Image.Image, path: Path, soft: bool = False) -> None:
    """Write a result, whole or not at all, with the original's transparency, colour profile and depth.

    Args:
        images: of the job that is done.
        restored: RGB.
        path: a .png, .webp or .tif file; its folder is made.
        soft: composite a deep original by the mask's levels instead of its upper half.

    Raises:
        UserError: when it cannot be written.
    """
    content = _with_original(restored, images.original, soft)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _encoded(content, images.profile, path))
    except (OSError, ValueError) as problem:
        raise UserError(f"{str(path)!r} cannot be written ({problem}); choose another --output.") from None


def _with_original(restored: Image.Image, original: Original | None, soft: bool) -> Image.Image:
    """The result with the original's depth, or else its transparency, where the sizes agree."""
    if original is None:
        return restored
    if original.deep is not None and original.deep.size == original.mask.size == restored.size:
        return paste_back(original.deep, restored, original.mask if soft else original.painted)
    if original.alpha is not None and original.alpha.size == restored.size:
        restored = restored.copy()
        restored.putalpha(original.alpha)
    return restored


def _encoded(image: Image.Image, profile: bytes | None, path: Path) -> bytes:
    fine, kind = levels(image), path.suffix.lower()
    if fine is not None and kind in (".tif", ".tiff"):
        return tiff(fine, profile)
    buffer = io.BytesIO()
    form = Image.registered_extensions()[kind]
    image.save(buffer, form, icc_profile=profile, lossless=True, exact=True)  # the last two are WEBP's
    if fine is None:
        return buffer.getvalue()
    if kind != ".png":
        print(f"{str(path)!r} holds 8 of the original's 16 bits; give a .png or .tif for all.", file=sys.stderr)
        return buffer.getvalue()
    return into_png(buffer.getvalue(), fine)
