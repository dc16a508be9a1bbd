"""What a picture's record says of how it was made; `llmga.serve.metadata` writes it into files and reads it back."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

from PIL import Image

import llmga
from llmga.compositing import able_to_hold
from llmga.deep import levels
from llmga.errors import UserError
from llmga.llava.endpoint.address import Endpoint
from llmga.seams import Seam
from llmga.serve.checked import checked

WEIGHTS = (".safetensors", ".bin", ".pth", ".ckpt")


@dataclass(frozen=True)
class ModelMark:
    """Which model took part.

    Attributes:
        role: "language", "language base", "painter", "inpainter", "restorer" or "upscaler"; in a picture's record
            "painter" is the one that painted it.
        name: the last part of the folder's path, the rest of the path is nobody's business; its id where it came from
            the hub; of a model that a server runs, its name there and the server's URL.
        sha256: fingerprint of the weights, None when they do not lie in a local folder.
    """

    role: str
    name: str
    sha256: str | None

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


class Changes(TypedDict, total=False):
    """What a painter is told of a picture that it changes, beside the picture and the mask."""

    strength: float | None
    area: str
    soft: bool
    skip: float
    ratio: float
    source_prompt: str


class Added(TypedDict):
    """What was added to a painter: a low-rank adapter, a ControlNet or an IP-Adapter."""

    kind: str
    name: str
    sha256: str
    weight: float
    picture: str | None


class Setup(TypedDict, total=False):
    """How a painter was set up."""

    family: str
    sampler: str | None
    layout: str
    dtype: str
    device: str
    weighted: bool
    tile_vae: bool
    added: list[Added]


@dataclass(frozen=True)
class Record:
    """How one picture was made: all that `llmga.serve.replay` needs to make it again.

    The time is left out on purpose: the same seed and the same conversation give the same bytes of the file.

    Attributes:
        prompt: what the language model wrote for the painter, or a person in its place.
        request: the user's turn that led to it.
        steps, guidance_scale: as they were used, the painter's own choice filled in.
        sampler: class of the scheduler; its row in the table of samplers is in `painter`.
        size: (width, height) in pixels.
        work_size: the size that was asked for; None left it to the painter.
        task: "text-to-image", "inpainting", "outpainting" or "editing".
        parent: the picture that was changed, by `picture_hash`; of an outpainted one the picture before it grew.
        mask: what was painted anew, by `picture_hash` of the mask in mode L, 255 being painted.
        outpaint: how the parent grew, as `Canvas.parse` takes it.
        fill: a row of `FILLS`, what was under the painting.
        changes: what else the painter was told beside parent and mask.
        restorer: the row that made painting and parent agree; None without a mask.
        upscaler: the row that enlarged the finished picture.
        seam_before, seam_after: how much the mask's edge shows, without and with the restorer.
        words: how the language model was sampled: temperature, top_p, max_new_tokens, seed, picture.
        painter: how the painter was set up.
        quality: of a lossy file, 1 to 100; None where the file is lossless, or of the usual quality.
        llmga: version of this package.
    """

    prompt: str
    request: str
    seed: int
    negative_prompt: str = ""
    steps: int | None = None
    guidance_scale: float | None = None
    sampler: str | None = None
    size: tuple[int, int] | None = None
    work_size: tuple[int, int] | None = None
    task: str = "text-to-image"
    parent: str | None = None
    mask: str | None = None
    outpaint: str | None = None
    fill: str | None = None
    changes: Changes = field(default_factory=dict)
    restorer: str | None = None
    upscaler: str | None = None
    seam_before: Seam | None = None
    seam_after: Seam | None = None
    words: Mapping[str, Any] = field(default_factory=dict)
    painter: Setup = field(default_factory=dict)
    models: tuple[ModelMark, ...] = ()
    quality: int | None = None
    llmga: str = field(default=llmga.__version__)

    def model(self, role: str) -> ModelMark | None:
        """The mark of the model in this role."""
        return next((mark for mark in self.models if mark.role == role), None)

    def to_json(self) -> str:
        """The documented block: one JSON object, its keys these attributes."""
        return _writable(json.dumps(asdict(self), ensure_ascii=False, sort_keys=True))

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Keys of a later version are left aside.  Raises: ValueError, TypeError when it is no record."""
        names = {entry.name for entry in fields(cls)}
        known = {key: value for key, value in dict(json.loads(text)).items() if key in names}
        for pair in ("size", "work_size"):
            known[pair] = tuple(known[pair]) if known.get(pair) else None
        for seam in ("seam_before", "seam_after"):
            known[seam] = Seam(**known[seam]) if known.get(seam) else None
        for name, told in (("changes", Changes), ("painter", Setup)):
            known[name] = {key: value for key, value in known.get(name, {}).items() if key in get_type_hints(told)}
        known["models"] = tuple(ModelMark(**mark) for mark in known.get("models", ()))
        return checked(cls(**known))


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


def fingerprint(path: str | Path) -> str | None:
    """SHA-256 over the names and digests of all weights files in a folder, or of one file; None without weights."""
    folder = Path(path)
    if folder.is_file():
        with folder.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    files = sorted(file for file in folder.rglob("*") if file.suffix in WEIGHTS) if folder.is_dir() else []
    if not files:
        return None
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(folder).as_posix()} {digest}\n".encode())
    return whole.hexdigest()


def parameters(record: Record) -> str:
    """The text that A1111, and the many tools that follow it, show and read back."""
    painter, language = record.model("painter"), record.model("language")
    named: dict[str, Any] = {
        "Steps": record.steps,
        "Sampler": record.sampler,
        "CFG scale": record.guidance_scale,
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
    return mark and mark.sha256 and mark.sha256[:10]


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
