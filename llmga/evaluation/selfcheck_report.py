"""What a machine has, what its device makes of every path, and how far that is from the CPU's answer."""

import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch.backends import cuda as kernels

import llmga
from llmga.errors import reason
from llmga.evaluation.selfcheck_paths import CHECKS, Place
from llmga.runtime import pick_device

REFERENCE = Place("cpu", "fp32")
TOLERANCE = {"fp32": 0.01, "fp16": 0.05, "bf16": 0.1}  # root mean square of the difference, over that of the answer
PACKAGES = ("torch", "transformers", "diffusers", "accelerate", "peft", "bitsandbytes", "deepspeed", "flash_attn")
MORE = {"editing": 4}  # times as much: the way to noise and back adds up what every step rounds
GIB = 2**30


@dataclass(frozen=True)
class Result:
    """How a path went.

    Attributes:
        limit: the largest difference that passes.
        difference: from the CPU's answer in single precision, relative.
        seconds: on the CPU and on the device, loading included.
        problem: what failed, else empty.
    """

    name: str
    limit: float
    difference: float = float("nan")
    seconds: tuple[float, float] = (0.0, 0.0)
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether it is near enough; no number never is."""
        return not self.problem and self.difference <= self.limit

    @property
    def row(self) -> str:
        """Of the table."""
        told = "pass" if self.good else f"**fail** {self.problem}".rstrip()
        there, here = self.seconds
        return f"| {self.name} | {self.difference:.2g} | {self.limit:g} | {there:.1f} | {here:.1f} | {told} |"


def check(device: str, dtype: str | None, names: Sequence[str], file: Path | None) -> int:
    """Print the report; 1 where a path fails.

    Raises:
        UserError: for a device that is not there.
    """
    target = pick_device(device)
    place = Place(str(target), dtype or ("bf16" if target.type == "cpu" else "fp16"))
    results = [compared(name, place) for name in names]
    text = report(place, results)
    print(text)
    if file:
        file.write_text(text + "\n", "utf-8")
    return 0 if all(result.good for result in results) else 1


def compared(name: str, place: Place) -> Result:
    """One path here and on the CPU; whatever goes wrong is part of the report."""
    limit = TOLERANCE[place.dtype] * MORE.get(name, 1)
    try:
        (expected, there), (found, here) = (_timed(name, each) for each in (REFERENCE, place))
    except Exception as problem:  # the report is for what nobody has foreseen
        return Result(name, limit, problem=reason(problem).replace("|", "/"))
    return Result(name, limit, difference(found, expected), (there, here))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference, over that of what is expected."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.sqrt(np.square(found - expected).mean() / max(np.square(expected).mean(), 1e-12)))


def _timed(name: str, place: Place) -> tuple[np.ndarray, float]:
    torch.manual_seed(0)
    started = time.perf_counter()
    return CHECKS[name](place), time.perf_counter() - started


def report(place: Place, results: Sequence[Result]) -> str:
    """In Markdown."""
    passed = sum(result.good for result in results)
    return "\n".join([
        f"## llmga selfcheck: {passed} of {len(results)} paths pass on {place.device} in {place.dtype}",
        "",
        *(f"* {line}" for line in machine(place)),
        "",
        "| path | difference | at most | s on the CPU | s here | |",
        "| --- | --- | --- | --- | --- | --- |",
        *(result.row for result in results),
    ])  # fmt: skip


def machine(place: Place) -> Iterator[str]:
    """What is there."""
    yield f"llmga {llmga.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    yield f"{torch.get_num_threads()} CPU threads, {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available():
        yield from _gpus()
    elif torch.device(place.device).type == "cpu":
        yield "no GPU: the CPU is compared with itself in another number format"


def _gpus() -> Iterator[str]:
    for index in range(torch.cuda.device_count()):
        free, whole = torch.cuda.mem_get_info(index)
        major, minor = torch.cuda.get_device_capability(index)
        name = torch.cuda.get_device_name(index)
        yield f"cuda:{index} {name}, {free / GIB:.1f} of {whole / GIB:.1f} GiB free, capability {major}.{minor}"
    yield f"driver {_driver()}, CUDA {torch.version.cuda}, bf16 {'yes' if torch.cuda.is_bf16_supported() else 'no'}"
    found = {"flash": kernels.flash_sdp_enabled(), "memory-efficient": kernels.mem_efficient_sdp_enabled(),
             "cuDNN": kernels.cudnn_sdp_enabled(), "math": kernels.math_sdp_enabled()}  # fmt: skip
    yield f"attention kernels: {', '.join(name for name, there in found.items() if there)}"


def _driver() -> str:
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
