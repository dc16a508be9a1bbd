"""How much memory a painter will take, from the heads of its files alone: `llmga inspect --plan`.

Weights are counted tensor by tensor; what a painting needs beside them is estimated from the widths in the configs.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmga.choices import DTYPES, OFFLOADS, PAINTER_QUANTS
from llmga.diffusers.file_headers import GGUF, Header, read_header
from llmga.errors import UserError

GIB = 2**30
WIDTHS = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0}  # bytes of a value
DENOISERS = ("unet", "transformer")
# Of a matrix of the denoiser: values, and a factor for each block of 64 of them or for each row.
QUANTISED = {"nf4": 0.5 + 4 / 64, "int8": 1.0, "fp8-storage": 1.0}
ON_GPU = ("nf4", "int8")  # diffusers opens them on a CUDA GPU only
FP8 = "fp8-storage"
WHOLE = "model.diffusion_model."  # what the denoiser's tensors begin with in a single file
KEPT = re.compile(r"norm|pos_embed|patch_embed|^proj_(in|out)\.")  # what diffusers leaves as it is for fp8


@dataclass(frozen=True)
class PartMemory:
    """A part of a painter.

    Attributes:
        name: of its folder, such as `unet`.
        values: how many weights it has.
        bytes: what they take as they will be held.
        stored: what they take on disk.
        largest: the largest tensor, in bytes as it will be held.
    """

    name: str
    values: int
    bytes: int
    stored: int
    largest: int


@dataclass(frozen=True)
class MemoryPlan:
    """What a painter will take.

    Attributes:
        parts: its weights, part by part.
        working: bytes beside them while one picture of `size` is painted, about.
        size: (width, height) of the picture.
        offload: a row of `OFFLOADS`, which parts wait in main memory.
    """

    parts: tuple[PartMemory, ...]
    working: int
    size: tuple[int, int]
    offload: str = "none"

    @property
    def weights(self) -> int:
        """Bytes of all weights, wherever they are."""
        return sum(part.bytes for part in self.parts)

    @property
    def on_device(self) -> int:
        """Bytes that the device needs at most, about."""
        held = {
            "none": self.weights,
            "model": max(part.bytes for part in self.parts),
            "group": 4 * max(part.largest for part in self.parts),  # one at work, and the next ones under way
            "sequential": max(part.largest for part in self.parts),
        }
        return held[self.offload] + self.working

    def to_dict(self) -> dict[str, Any]:
        """As plain data, in bytes."""
        return {**asdict(self), "weights": self.weights, "on_device": self.on_device}

    def __str__(self) -> str:
        """A line for each part, and what it comes to."""
        lines = [f"{part.name:20}{part.values / 1e6:10.1f} M{part.bytes / GIB:10.2f} GiB" for part in self.parts]
        total = (
            f"{'all weights':20}{sum(part.values for part in self.parts) / 1e6:10.1f} M{self.weights / GIB:10.2f} GiB"
        )
        work = f"{'working memory':32}{self.working / GIB:10.2f} GiB  (about, at {self.size[0]}x{self.size[1]})"
        device = f"{'on the device':32}{self.on_device / GIB:10.2f} GiB  (about, with --offload {self.offload})"
        return "\n".join([*lines, total, work, device])


def painter_memory(
    folder: str | Path,
    *,
    dtype: str = "fp16",
    quant: str | None = None,
    offload: str = "none",
    size: tuple[int, int] | None = None,
) -> MemoryPlan:
    """What a painter will take, nothing of it being loaded.

    Args:
        folder: a diffusers folder; or one .safetensors or .gguf file, which is then one part.
        dtype: fp32, fp16 or bf16.
        quant: as `load_pipeline` takes it, for the denoiser.
        offload: a row of `OFFLOADS`.
        size: (width, height) in pixels; None is the model's own, else 1024x1024.

    Raises:
        UserError: nothing of a painter is there, a head is damaged, or a name is unknown.
    """
    folder, width = Path(folder), _width(dtype, offload)
    check_pair(quant, offload)
    if folder.is_file():
        parts, configs = _parts_of_file(folder), {}
        if quant in ON_GPU and len(parts) > 1:
            raise UserError(f"--painter-quant {quant} is for folders in diffusers layout; make one of the file with "
                            "llmga convert.")  # fmt: skip
    else:
        parts, configs = _weight_files(folder), _configs(folder)
    if quant is not None and quant not in QUANTISED:
        if not (Path(quant).suffix == GGUF and Path(quant).is_file()):
            raise UserError(f"--painter-quant {quant!r} is no .gguf file and none of {', '.join(PAINTER_QUANTS)}.")
        parts |= {name: [Path(quant)] for name in DENOISERS if name in parts}
    counted = tuple(_counted(name, files, width, quant) for name, files in parts.items())
    if not counted:
        raise UserError(
            f"{str(folder)!r} holds no weights of a painter; give a diffusers folder, or a .safetensors file."
        )
    shown = size or _native(configs)
    return MemoryPlan(counted, working_memory(configs, shown, width), shown, offload)


def check_pair(quant: str | None, offload: str) -> None:
    """Raises: UserError for fewer bits that cannot be moved as the offload does."""
    if quant not in (None, FP8) and offload in ("sequential", "group"):
        raise UserError(f"--painter-quant {quant} and --offload {offload} do not go together; use --offload model.")


def _parts_of_file(file: Path) -> dict[str, list[Path]]:
    """A whole checkpoint has a denoiser and the rest; a denoiser alone is one; anything else has its own name."""
    from llmga.diffusers.file_kinds import recognise

    header = read_header(file)
    if any(name.startswith(WHOLE) for name in header.shapes):
        rest = any(not name.startswith(WHOLE) for name in header.shapes)
        return {"unet": [file], file.stem: [file]} if rest else {"unet": [file]}
    kind = recognise(header.shapes, header.metadata).name
    return {kind if kind in DENOISERS else file.stem: [file]}


def _width(dtype: str, offload: str) -> float:
    if dtype not in WIDTHS:
        raise UserError(f"unknown number format {dtype!r}; use one of: {', '.join(DTYPES)}.")
    if offload not in OFFLOADS:
        raise UserError(f"unknown offload {offload!r}; use one of: {', '.join(OFFLOADS)}.")
    return WIDTHS[dtype]


def _weight_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each part in one variant, those that would be opened first."""
    from llmga.weight_files import choose

    parts = {}
    for part in sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else ():
        library = "diffusers" if part.name in (*DENOISERS, "vae") else "transformers"
        if not (part / "config.json").is_file() or part.name in ("safety_checker", "image_encoder"):
            continue
        chosen = choose(part, library)
        names = [chosen.whole] if chosen.whole else [name for name in chosen.names if name != chosen.index]
        parts[part.name] = [part / name for name in names]
    return parts


def _configs(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for file in folder.glob("*/config.json"):
        try:
            found[file.parent.name] = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError, OSError):
            raise UserError(f"{str(file)!r} is no valid JSON object; copy the file again.") from None
    return found


def _counted(name: str, files: Sequence[Path], width: float, quant: str | None) -> PartMemory:
    values = held = stored = largest = 0
    for header, key in ((head, key) for head in map(read_header, files) for key in _keys_of(name, head)):
        count, on_disk = math.prod(header.shapes[key]), header.sizes[key]
        takes = round(count * _bytes(key, header.shapes[key], width, quant if name in DENOISERS else None))
        if header.path.suffix == GGUF:
            takes = on_disk
        values, held, stored, largest = values + count, held + takes, stored + on_disk, max(largest, takes)
    return PartMemory(name, values, held, stored, largest)


def _keys_of(part: str, header: Header) -> list[str]:
    """Those of the denoiser, or the others, in a file that has both; all of another."""
    whole = [key for key in header.shapes if key.startswith(WHOLE)]
    if part in DENOISERS:
        return whole or list(header.shapes)
    return [key for key in header.shapes if not key.startswith(WHOLE)]


def _bytes(key: str, shape: Sequence[int], width: float, quant: str | None) -> float:
    """Of one value of a tensor."""
    if quant not in QUANTISED:
        return width
    if quant == "fp8-storage":
        return width if KEPT.search(key) else QUANTISED[quant]
    if not key.endswith(".weight"):
        return width
    return QUANTISED[quant] + (4 / shape[1] if quant == "int8" else 0) if len(shape) == 2 else width


def _native(configs: Mapping[str, Mapping[str, Any]]) -> tuple[int, int]:
    own = next((configs[name].get("sample_size") for name in DENOISERS if name in configs), None)
    side = own * _vae_factor(configs) if isinstance(own, int) else 1024
    return side, side


def _vae_factor(configs: Mapping[str, Mapping[str, Any]]) -> int:
    widths = configs.get("vae", {}).get("block_out_channels") or (1,) * 4
    return 2 ** (len(widths) - 1)


def working_memory(configs: Mapping[str, Mapping[str, Any]], size: tuple[int, int], width: float) -> int:
    """Bytes beside the weights while one picture is painted, about.

    The greater of two moments: the denoiser's step for both sides of the guidance, and the VAE's last layers.

    Args:
        configs: of the parts, by their names.
        size: (width, height) in pixels.
        width: bytes of a value.
    """
    pixels, factor = size[0] * size[1], _vae_factor(configs)
    vae = configs.get("vae", {}).get("block_out_channels") or (128, 256)
    decoding = pixels * (vae[0] + vae[min(1, len(vae) - 1)]) * width * 2  # a layer's input, output and their sums
    latents, denoiser = pixels / factor**2, next((configs[name] for name in DENOISERS if name in configs), {})
    if widths := denoiser.get("block_out_channels"):
        levels = sum(channels / 4**level for level, channels in enumerate(widths))
        denoising = 2 * latents * levels * width * 8  # what waits for the way up, and a block at work
    else:
        inner = (denoiser.get("num_attention_heads") or 24) * (denoiser.get("attention_head_dim") or 128)
        denoising = 2 * latents / 4 * inner * width * 14  # queries, keys, values and a wide layer
    return round(max(decoding, denoising))
