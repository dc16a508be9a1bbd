"""How a picture was made; `llmga.assistant.image_files` writes it into files and reads it back."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from PIL import Image

import llmga
from llmga.assistant.settings import Changes, ClipSkip, Guidance, Prompt, Seed, Share, Steps, WorkSide
from llmga.changes import Change
from llmga.compositing import able_to_hold
from llmga.deep import levels
from llmga.diffusers.adapters import LARGEST_WEIGHT
from llmga.diffusers.control import LONGEST_TEXT, MOST_CONTROLS
from llmga.errors import UserError
from llmga.files import fingerprint
from llmga.images import MAX_SIDE
from llmga.llava.endpoint.address import Endpoint
from llmga.seams import Seam
from llmga.typed import like, parsed, typed, up_to, within

LONGEST_RECORD = 2_000_000  # characters

# What a file may say; a name of a row is looked up where it is used.
Name = Annotated[str, up_to(300)]
Digest = Annotated[str, like("[0-9a-f]{1,64}", "a hexadecimal digest")]
Extents = Annotated[str, up_to(300)]  # as `Canvas.parse` takes them


@dataclass(frozen=True)
class ModelMark:
    """Which model took part.

    Attributes:
        role: "language", "language base", "painter", "inpainter", "editor", "restorer" or "upscaler", or "unet" or
            "vae" of what took the place of the painter's own; in a picture's record "painter" is what painted it.
        name: the last part of the folder's path, the rest of the path is nobody's business; its id where it came from
            the hub; of a model that a server runs, its name there and the server's URL.
        sha256: fingerprint of the weights, None when they do not lie in a local folder.
    """

    role: Name
    name: Annotated[str, up_to(1000)]
    sha256: Digest | None

    @classmethod
    def of(cls, role: str, path: str | Path | Endpoint) -> "ModelMark":
        """Reads every weights file once; do it when the model is loaded and keep the mark."""
        if isinstance(path, Endpoint):
            return cls(role, f"{path.model} at {path.shown}", None)
        return cls(role, _name(Path(path).resolve()) if Path(path).exists() else str(path), fingerprint(path))


def _name(place: Path) -> str:
    """The last part of the path; in the hub's cache, whose folders are called by revisions, the model's id."""
    repository = place.parent.parent.name
    if place.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/", 1)
    return place.name


class _Added(TypedDict):
    kind: Name
    name: Name
    sha256: Digest
    weight: Annotated[float, within(-LARGEST_WEIGHT, LARGEST_WEIGHT)]
    picture: Digest | None


class Added(_Added, total=False):
    """What was added to a painter: a low-rank adapter, a taught word, a ControlNet or an IP-Adapter."""

    token: Name


class Words(TypedDict, total=False):
    """How the language model was sampled."""

    temperature: Annotated[float, within(0, 5)]
    top_p: Share
    max_new_tokens: Annotated[int, within(1, 1_000_000)]
    seed: Seed | None
    picture: Name


class Setup(TypedDict, total=False):
    """How a painter was set up."""

    family: Name
    sampler: Name | None
    layout: Name
    dtype: Name
    device: Name
    weighted: bool
    tile_vae: bool
    quant: Name | None
    added: Annotated[list[Added], up_to(100)]


@dataclass(frozen=True)
class Record:
    """How one picture was made: all that `llmga.serve.replay` needs to make it again.

    The time is left out on purpose: the same seed and the same conversation give the same bytes of the file.

    Attributes:
        prompt: what the language model wrote for the painter, or a person in its place.
        request: the user's turn that led to it.
        steps: as it was used, the pipeline's own choice filled in.
        guidance_scale: as `steps`.
        clip_skip: layers of the text towers that the prompt left out, as diffusers counts them; None is none.
        sampler: class of the scheduler; its row in the table of samplers is in `painter`.
        size: (width, height) in pixels.
        work_size: the size that was asked for; None left it to the painter.
        task: "text-to-image", "inpainting", "outpainting" or "editing".
        parent: the picture that was changed, by `picture_hash`; of an outpainted one the picture before it grew.
        mask: what was painted anew, by `picture_hash` of the mask in mode L, 255 being painted.
        outpaint: how the parent grew, as `Canvas.parse` takes it.
        fill: a row of `FILLS`, what was under the painting.
        changes: what else the painter was told beside parent and mask.
        control: how pictures guided it, as `llmga.diffusers.control.parse_controls` reads it; None where that was left
            to how the painter was set up.
        control_images: these pictures by `picture_hash`; None is the parent.
        restorer: the row that made painting and parent agree; None without a mask.
        upscaler: the row that enlarged the finished picture.
        seam_before: how much the mask's edge shows without the restorer.
        seam_after: how much it shows with it.
        changed: what of the parent is another picture now, where it was changed by words without a mask.
        words: how the language model was sampled: temperature, top_p, max_new_tokens, seed, picture.
        painter: how the painter was set up.
        quality: of a lossy file, 1 to 100; None where the file is lossless, or of the usual quality.
        watermark: the text that is hidden in the picture.
        llmga: version of this package.
    """

    prompt: Prompt
    request: str
    seed: Seed
    negative_prompt: Prompt = ""
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    clip_skip: ClipSkip | None = None
    sampler: Name | None = None
    size: tuple[Annotated[int, within(1, MAX_SIDE)], Annotated[int, within(1, MAX_SIDE)]] | None = None
    work_size: tuple[WorkSide, WorkSide] | None = None
    task: Name = "text-to-image"
    parent: Digest | None = None
    mask: Digest | None = None
    outpaint: Extents | None = None
    fill: Name | None = None
    changes: Changes = field(default_factory=Changes)
    control: Annotated[str, up_to(LONGEST_TEXT)] | None = None
    control_images: Annotated[tuple[Digest | None, ...], up_to(MOST_CONTROLS)] = ()
    restorer: Name | None = None
    upscaler: Name | None = None
    seam_before: Seam | None = None
    seam_after: Seam | None = None
    changed: Change | None = None
    words: Words = field(default_factory=Words)
    painter: Setup = field(default_factory=Setup)
    models: Annotated[tuple[ModelMark, ...], up_to(16)] = ()
    quality: Annotated[int, within(1, 100)] | None = None
    watermark: Name | None = None
    llmga: Name = field(default=llmga.__version__)

    def model(self, role: str) -> ModelMark | None:
        """The mark of the model in this role."""
        return next((mark for mark in self.models if mark.role == role), None)

    def to_json(self) -> str:
        """The documented block: one JSON object, its keys these attributes."""
        return _writable(json.dumps(asdict(self), ensure_ascii=False, sort_keys=True))

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Read a record; keys of a later version are left aside.

        Raises:
            ValueError: it is no JSON, or a value is out of its range.
            TypeError: a value is of another type, or missing.
        """
        return typed(cls, parsed(text, longest=LONGEST_RECORD))


def picture_hash(image: Image.Image) -> str:
    """SHA-256 over a picture's mode, size, colour profile and pixels, of 16 bits too, whatever file it is in.

    Palettes and transparent colours are looked up first: files differ in how they write them.
    """
    with suppress(UserError):
        image = able_to_hold(image)
    whole = hashlib.sha256(repr((image.mode, image.size, image.info.get("icc_profile"))).encode())
    whole.update(image.tobytes())
    if (fine := levels(image)) is not None:
        whole.update(fine.astype("<u2").tobytes())
    return whole.hexdigest()


def parameters(record: Record) -> str:
    """The text that A1111, and the many tools that follow it, show and read back."""
    painter, language = record.model("painter"), record.model("language")
    named: dict[str, Any] = {
        "Steps": record.steps,
        "Sampler": record.sampler,
        "CFG scale": record.guidance_scale,
        "Clip skip": record.clip_skip and record.clip_skip + 1,  # which A1111 counts from the last layer
        "Seed": record.seed,
        "Size": record.size and "{}x{}".format(*record.size),
        "Model hash": _short(painter),
        "Model": painter and painter.name,
        "Denoising strength": record.changes.get("strength"),
        "Request": record.request,
        "Language model hash": _short(language),
        "Language model": language and language.name,
        "Parent": record.parent,
        "Mask": record.mask,
        "Restorer": record.restorer,
        "Upscaler": record.upscaler,
        "Version": f"llmga {record.llmga}",
    }
    negative = [f"Negative prompt: {record.negative_prompt}"] if record.negative_prompt else []
    listed = ", ".join(f"{name}: {_quoted(value)}" for name, value in named.items() if value is not None)
    return _writable("\n".join([record.prompt, *negative, listed]))


def _writable(text: str) -> str:
    """Half characters, which JSON from somewhere may hold and no file can, become question marks."""
    return text.encode(errors="replace").decode()


def _short(mark: ModelMark | None) -> str | None:
    return mark.sha256[:10] if mark is not None and mark.sha256 is not None else None


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
