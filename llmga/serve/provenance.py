"""Every picture says how it was made: written into the PNG, read back by us and by A1111-style tools."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

import llmga
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.llava.endpoint.address import Endpoint

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")
WEIGHTS = (".safetensors", ".bin", ".pth", ".ckpt")


@dataclass(frozen=True)
class ModelMark:
    """Which model took part.

    Attributes:
        role: "language", "language base", "painter" or "restorer".
        name: the last part of the folder's path, the rest of the path is nobody's business; of a model that a server
            runs, its name there and the server's URL.
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
        return cls(role, Path(path).resolve().name if Path(path).exists() else str(path), fingerprint(path))


@dataclass(frozen=True)
class Record:
    """How one picture was made.

    The time is left out on purpose: the same seed and the same conversation give the same bytes of the file.

    Attributes:
        prompt: what the language model wrote for the painter.
        request: the user's turn that led to it.
        size: (width, height) in pixels.
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
    models: tuple[ModelMark, ...] = ()
    llmga: str = field(default=llmga.__version__)


def fingerprint(path: str | Path) -> str | None:
    """SHA-256 over the names and digests of all weights files in a folder; None when there are none."""
    folder = Path(path)
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
    painter = next((mark for mark in record.models if mark.role == "painter"), None)
    named: dict[str, Any] = {
        "Steps": record.steps,
        "Sampler": record.sampler,
        "CFG scale": record.guidance_scale,
        "Seed": record.seed,
        "Size": record.size and "{}x{}".format(*record.size),
        "Model hash": painter and painter.sha256 and painter.sha256[:10],
        "Model": painter and painter.name,
        "Version": f"llmga {record.llmga}",
    }
    negative = [f"Negative prompt: {record.negative_prompt}"] if record.negative_prompt else []
    listed = ", ".join(f"{name}: {_quoted(value)}" for name, value in named.items() if value is not None)
    return "\n".join([record.prompt, *negative, listed])


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def png_bytes(image: Image.Image, record: Record) -> bytes:
    """The picture as PNG with its record in the text chunks `llmga` (JSON) and `parameters`."""
    chunks = PngInfo()
    chunks.add_text("parameters", parameters(record))
    chunks.add_text("llmga", json.dumps(asdict(record), ensure_ascii=False, sort_keys=True))
    buffer = io.BytesIO()
    if image.mode not in PNG_MODES:  # a print picture, say, whose colour profile would mean nothing in RGB
        image = to_rgb(image)
        image.info.pop("icc_profile", None)
    image.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def read(path: str | Path) -> Record:
    """The record inside a picture.  Raises: UserError when there is no such file or no record in it."""
    try:
        with Image.open(path) as image:
            image.load()
            return _record(json.loads(getattr(image, "text", {})["llmga"]))
    except (OSError, SyntaxError, KeyError, ValueError, TypeError):
        raise UserError(f"no record of llmga can be read from {str(path)!r}; give a PNG that llmga saved.") from None


def _record(values: dict[str, Any]) -> Record:
    """Keys of a later version are left aside."""
    known = {key: value for key, value in values.items() if key in {entry.name for entry in fields(Record)}}
    known["size"] = tuple(known["size"]) if known.get("size") else None
    known["models"] = tuple(ModelMark(**mark) for mark in known.get("models", ()))
    return Record(**known)
