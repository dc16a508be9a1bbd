"""Where and in which number format a model runs."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import torch

from llmga.errors import UserError
from llmga.registry import Registry

DEVICE_TYPES = ["cpu", "cuda", "mps"]
DTYPES = Registry("number format", {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16})


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the first of cuda, mps, cpu that this machine has; a device that is not there is an error.

    Raises:
        UserError: for an unknown device, and one that this machine has not.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UserError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:N or mps.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name!r} was asked for, but this machine has no CUDA GPU; use --device cpu or auto.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {name!r} does not exist, this machine has {torch.cuda.device_count()} GPU(s).")
    if device.type == "mps" and not _has_mps():
        raise UserError(f"device {name!r} was asked for, but this machine has no MPS; use --device cpu or auto.")
    if device.type not in DEVICE_TYPES:
        raise UserError(f"device {name!r} is not supported; use auto, cpu, cuda, cuda:N or mps.")
    return device


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def pick_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """`None` means half precision on accelerators and single precision on a CPU."""
    if name is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    return DTYPES[name]


def peak_memory() -> int | None:
    """The most bytes of main memory that this process held at once; None where it cannot be asked.

    Linux hands a parent's peak on to its children in `ru_maxrss`, so its other record is read where there is one.
    """
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def introduce_alone() -> None:
    """A process without a launcher says that it is a group of one; DeepSpeed would look for MPI to learn that."""
    if "RANK" not in os.environ:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        os.environ.update(alone, MASTER_PORT=str(free_port()))
