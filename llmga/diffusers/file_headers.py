"""What stands at the head of a file of weights: names, shapes, number formats and text, without the weights."""

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmga.errors import UserError
from llmga.extras import require
from llmga.filetypes import file_type

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
GGUF = ".gguf"
BESIDE = "give it as --painter-quant beside an --sdmodel_id that is a diffusers folder of"  # of a denoiser in GGUF
SUFFIXES = (".safetensors", *PICKLES)
LARGEST_HEAD = 100_000_000  # bytes; the format's own bound
PYTORCH = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04")


@dataclass(frozen=True)
class Header:
    """What a file of weights says of itself.

    Attributes:
        path: the file.
        shapes: of every tensor, by its name in the file.
        formats: number format of every tensor, such as `F16` (safetensors) or `float16` (PyTorch).
        metadata: the text pairs of a safetensors file.
        numbers: what a PyTorch file holds beside tensors, such as `global_step`.
        sizes: bytes of every tensor in the file.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    formats: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


def is_weight_file(path: Path) -> bool:
    """Whether it is a file whose name ends as one of weights does."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_header(path: Path) -> Header:
    """Read the head of a .safetensors or a .gguf file, or the structure of a PyTorch file, whose tensors stay on disk.

    Raises:
        UserError: the file is of another type, damaged, or holds Python objects.
    """
    try:
        if path.suffix == GGUF:
            return _gguf(path)
        return _safetensors(path) if path.suffix == ".safetensors" else _pytorch(path)
    except OSError as problem:
        raise UserError(f"{str(path)!r} cannot be read ({(problem.strerror or str(problem)).lower()}).") from None


def _safetensors(path: Path) -> Header:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        head = _json(stream.read(length)) if 2 <= length <= min(size - 8, LARGEST_HEAD) else None
    if head is None or size < 8 + length + _end(head):
        raise UserError(f"{str(path)!r} {_instead(path) or 'is damaged or not whole; fetch it again'}.")
    tensors = {name: each for name, each in head.items() if name != "__metadata__"}
    return Header(
        path,
        {name: tuple(each["shape"]) for name, each in tensors.items()},
        {name: each["dtype"] for name, each in tensors.items()},
        {str(name): str(text) for name, text in head.get("__metadata__", {}).items()},
        sizes={name: each["data_offsets"][1] - each["data_offsets"][0] for name, each in tensors.items()},
    )


def _json(text: bytes) -> dict[str, Any] | None:
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(head, dict) and all(name == "__metadata__" or _is_tensor(each) for name, each in head.items())
    return head if whole and isinstance(head.get("__metadata__", {}), dict) else None


def _is_tensor(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, ends = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(ends, list) or len(ends) != 2:
        return False
    return all(type(each) is int for each in (*shape, *ends))


def _end(head: Mapping[str, Any]) -> int:
    """Bytes of all tensors together."""
    return max((each["data_offsets"][1] for name, each in head.items() if name != "__metadata__"), default=0)


def _instead(path: Path) -> str | None:
    """What a file is that is no safetensors file; nothing where it may be a damaged one."""
    with path.open("rb") as stream:
        head = stream.read(200)
    if not head:
        return "is empty; fetch it again"
    if head.startswith(PYTORCH):
        return "is a PyTorch file under the name of another kind; let its name end with .ckpt"
    if head.startswith(b"GGUF"):
        return "is a GGUF file under the name of another kind; let its name end with .gguf"
    if kind := file_type(path):
        return f"is {kind.said} and no file of weights; {kind.remedy}"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in head):
        return "is a text and no file of weights, perhaps the page of a failed download; fetch it again"
    return None


def _gguf(path: Path) -> Header:
    """What llama.cpp's format says; its shapes have the last axis first."""
    gguf = require("gguf", f"the GGUF file {str(path)!r}")
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError):
        with path.open("rb") as stream:
            other = None if stream.read(4) == b"GGUF" else _instead(path)
        raise UserError(f"{str(path)!r} {other or 'is damaged or not whole; fetch it again'}.") from None
    stated = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
    return Header(
        path,
        {tensor.name: tuple(int(side) for side in reversed(tensor.shape)) for tensor in reader.tensors},
        {tensor.name: tensor.tensor_type.name for tensor in reader.tensors},
        {name: str(value) for name, value in stated.items() if isinstance(value, str | int | float)},
        sizes={tensor.name: int(tensor.n_bytes) for tensor in reader.tensors},
    )


def _pytorch(path: Path) -> Header:
    with path.open("rb") as stream:
        if stream.read(2) not in PYTORCH:
            raise UserError(f"{str(path)!r} {_instead(path) or 'is no PyTorch file; fetch it again'}.")
    from torch import Tensor
    from torch.nn import ParameterDict
    from torch.serialization import safe_globals

    with safe_globals([ParameterDict]):  # the first files of textual inversion hold one
        whole = load_pytorch(path, device="meta")
    content = state_dict_of(whole)
    tensors = dict(_named_tensors(whole if isinstance(whole, Tensor) else content))
    return Header(
        path,
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()},
        numbers={str(name): value for name, value in content.items() if type(value) in (int, float)},
        sizes={name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()},
    )


def _named_tensors(content: Any, name: str = "", depth: int = 4) -> Iterator[tuple[str, Any]]:
    """Tensors of dicts in dicts, such as A1111's `string_to_param` and a restorer's `params_ema`: names with dots."""
    inner = getattr(content, "_parameters", content)  # of a module of torch
    if hasattr(content, "shape"):
        yield name or "tensor", content
    elif isinstance(inner, Mapping | list | tuple) and depth:
        pairs = inner.items() if isinstance(inner, Mapping) else enumerate(inner)
        for key, value in pairs:
            yield from _named_tensors(value, f"{name}.{key}".lstrip("."), depth - 1)


def load_pytorch(path: Path, device: str = "cpu") -> Any:
    """What a PyTorch file holds, no code of it being run; tensors of today's format stay on disk until they are used.

    Args:
        device: `cpu`, or `meta` for shapes alone.

    Raises:
        UserError: it is damaged, or holds Python objects beside tensors.
    """
    import torch

    with path.open("rb") as stream:
        mapped = stream.read(2) == b"PK"
    try:
        return torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as problem:
        if "global" not in str(problem).lower():
            raise UserError(f"{str(path)!r} is damaged or not whole; fetch it again.") from None
        raise UserError(f"{str(path)!r} holds Python objects beside tensors, which could run code, and stays closed; "
                        "ask its maker for a .safetensors file.") from None  # fmt: skip
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError):
        raise UserError(f"{str(path)!r} is damaged or not whole; fetch it again.") from None


def state_dict_of(content: Any) -> dict[Any, Any]:
    """The tensors by name, of what a trainer wrapped in `state_dict`; the numbers beside them are kept."""
    outer: dict[Any, Any] = {}
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        outer |= {name: value for name, value in content.items() if type(value) in (int, float)}
        content = content["state_dict"]
    return outer | content if isinstance(content, dict) else {}
