"""What is computed once and kept on disk under a name that changes with all that it was computed from."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def fingerprint(facts: Any, *modules: nn.Module) -> str:
    """A short hash of plain values and of every weight of the modules."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for module in modules:
        for tensor in module.state_dict().values():
            digest.update(str(tensor.dtype).encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def kept(path: Path, make: Callable[[], dict[str, Tensor]], *, write: bool) -> dict[str, Tensor]:
    """The tensors of a safetensors file, made first if it is not there.

    Args:
        write: False in the other processes of a run, which only read or make.
    """
    if path.is_file():
        return load_file(path)
    tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(tensors, partial)
        partial.replace(path)
    return tensors
